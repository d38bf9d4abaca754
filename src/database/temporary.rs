//! A database that ends with the value that stands for it: for tests.

use super::{Dialect, waited};
use crate::Result;
use crate::config::DatabaseConfig;
use std::path::Path;

/// Removes its database when it is dropped.
pub(super) struct Temporary<D: Dialect> {
    options: D::Options,
    name: String,
}

impl<D: Dialect> Temporary<D> {
    /// Makes one, and returns what it takes to connect to it.
    ///
    /// # Errors
    ///
    /// It cannot be made, where the configuration says.
    pub(super) fn new(config: &DatabaseConfig, root: &Path) -> Result<(D::Options, Self)> {
        let name = format!("purlin_test_{:016x}", getrandom::u64()?);
        let options = waited(D::make_temporary(config, root, &name))?;
        Ok((options.clone(), Self { options, name }))
    }
}

impl<D: Dialect> Drop for Temporary<D> {
    fn drop(&mut self) {
        if let Err(error) = waited(D::remove_temporary(&self.options, &self.name)) {
            tracing::warn!(target: "purlin::database", "{} is left behind: {error:#}", self.name);
        }
    }
}
