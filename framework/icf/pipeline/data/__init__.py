"""Before the folds: what is in the images, how they are split, and the rows and pixels that every fold shares."""
