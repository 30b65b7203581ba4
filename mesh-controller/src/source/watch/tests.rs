//! Tests of the watch: every way in which editors write files.
