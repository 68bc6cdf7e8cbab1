"""The reconciler: one actor a filter compares what was seen with what was agreed and says what is to be done."""
