"""Built-in icf plugin `loss`: cross-entropy and focal loss, both with class weights."""
