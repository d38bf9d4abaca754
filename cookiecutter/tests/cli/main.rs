//! What `purlin` promises, through the program itself.

mod adding;
mod asking;
mod cookiecutter;
#[cfg(unix)]
mod developing;
mod doctor;
mod failing;
mod making;
mod packaging;
mod serving;
mod support;
mod upgrading;
mod words;
