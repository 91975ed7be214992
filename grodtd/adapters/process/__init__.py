"""The process itself: what it does when it hangs, and when it keeps dying."""
