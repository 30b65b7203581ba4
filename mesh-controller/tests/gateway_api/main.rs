//! The reader against the Gateway API's own module, v1.7.0: its examples, its invalid examples, its resource
//! definitions and every rule in them. Nothing of the module is kept here; it comes from Go's module cache.

mod builder;
mod complete;
mod definitions;
mod drift;
mod examples;
mod module;
mod mutants;
mod rules;
