"""History as people read it: lists, groups, undo, edit conflicts."""
