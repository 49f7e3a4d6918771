//! Shamir's secret sharing over GF(2^8), as SOPS uses it for key groups.
//!
//! Source: sops 3.11.0 `shamir/shamir.go` (HashiCorp Vault's): field polynomial 0x11B, a share is the y values followed
//! by one byte x.

mod gf256;
mod share;

pub use share::{ShamirError, Share, Threshold, combine, split};
