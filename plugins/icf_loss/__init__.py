"""Built-in icf plugin `loss`: cross-entropy, losses for rare classes, wrong labels and margins, and sums of them."""
