//! Sign-in: accounts and their passwords, who sent a request, and what he may do.

mod password;
mod token;

pub use password::{Password, PasswordHash, Passwords, Verified};
pub use token::{Token, new_stamp};
