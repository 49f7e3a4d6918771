//! Plaintext copies of secrets (edge): in files, in the objects of git repositories, in compressed files and in streams.
//!
//! `finder` knows the texts to look for and finds them in bytes that come in pieces; `places` says where plaintext gets left,
//! what kind of place a path is and what to do about it; `walk` goes through file systems; `read` opens what stands
//! there; `look` does that on all cores and gathers the answer. Nothing here decrypts, and no answer holds a value.

pub mod finder;
pub mod look;
pub mod places;
mod read;
mod telling;
mod walk;
