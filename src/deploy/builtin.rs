//! What Purlin itself has registered: each built-in layer and application, with its options.
//!
//! The options are the builder methods of the layer, by the same names. What only code can give (a closure, accounts, an
//! engine) is no option.

mod applications;
mod layers;
mod servers;

pub(super) use applications::{CASCADE, cascade};
pub(super) use servers::server;

use super::registry::Registry;
use crate::config::units;
use crate::{Error, Result, StatusCode};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// A duration above nought.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Limit(#[serde(deserialize_with = "units::limit")] Duration);

/// A duration, or nought.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Time(#[serde(deserialize_with = "units::duration")] Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Size(#[serde(deserialize_with = "units::size")] u64);

#[derive(Clone, Copy, Debug, Deserialize)]
struct Count(#[serde(deserialize_with = "units::count")] usize);

/// An option that was given, as the method of the same name sets it.
macro_rules! given {
    ($builder:expr, $options:ident: $($option:ident $(as $value:expr)?),+ $(,)?) => {{
        let mut builder = $builder;
        $(if let Some(value) = $options.$option {
            builder = builder.$option(given!(@value value $(, $value)?));
        })+
        builder
    }};
    (@value $given:ident) => { $given };
    (@value $given:ident, $value:expr) => { $value($given) };
}

use given;

/// Registers everything that is built in with the features of this build.
pub(super) fn register(registry: Registry) -> Registry {
    servers::register(applications::register(layers::register(registry)))
}

fn status_of(option: &str, text: &str) -> Result<StatusCode> {
    text.parse().map_err(|_| Error::internal(format!("`{option}`: expected a status as 404, found {text:?}")))
}

/// A slip in a folder's name would be a site without files.
fn folder_is_there(folder: &Path) -> Result<()> {
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Error::internal(format!("there is no folder {}", folder.display()))),
    }
}
