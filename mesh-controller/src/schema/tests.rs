//! Tests of the schema check: shape, bounds, defaults and rules, each with the path that is named.
