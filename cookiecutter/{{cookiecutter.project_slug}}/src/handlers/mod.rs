//! What answers: a file for each part of the site.

pub mod guestbook;
pub mod home;
