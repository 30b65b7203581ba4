//! Tests of folders and files: which count, and what stays in force.
