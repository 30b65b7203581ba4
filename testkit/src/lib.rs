//! Peers and harnesses for tests: an open-loop load generator, and processes that end with their test.
//! Nothing of the product lives here.

pub mod load;
pub mod process;
