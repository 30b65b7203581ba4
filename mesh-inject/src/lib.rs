//! Sidecars for pods on Kubernetes: who gets one, and who has one. Pure; no server is asked and no file is read.
#![doc = include_str!("../README.md")]

pub mod inject;
pub mod pods;
