//! The site that a command is about: the one around the folder in which it was started.

use crate::failure::Failure;
use crate::manifest;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A folder whose `Cargo.toml` names Purlin among its dependencies.
pub(crate) struct OwnSite {
    pub(crate) root: PathBuf,
    /// The text of its `Cargo.toml`.
    pub(crate) manifest: String,
    /// What its tests call it.
    pub(crate) crate_name: String,
}

/// The database that its handlers have transactions of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Database {
    None,
    Sqlite,
    Postgres,
}

impl OwnSite {
    /// The nearest from the current folder upwards.
    ///
    /// # Errors
    ///
    /// There is none; a `Cargo.toml` on the way that is no site's is named.
    pub(crate) fn find() -> Result<Self, Failure> {
        let here = env::current_dir().map_err(|cause| Failure::new(format!("there is no current folder: {cause}")))?;
        let mut passed = None;
        for folder in here.ancestors() {
            let path = folder.join("Cargo.toml");
            match fs::read_to_string(&path) {
                Ok(text) if manifest::has(&text, "dependencies", "purlin") => return Self::of(folder, text),
                Ok(_) => passed = passed.or(Some(path)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(Failure::file("read", &path, &cause)),
            }
        }
        let failure = Failure::new("there is no Purlin site here, nor in a folder above");
        Err(match passed {
            Some(path) => failure.remedy(format!("{} does not name purlin among its [dependencies]", path.display())),
            None => failure.remedy("cd into a site, or make one: purlin new my-site"),
        })
    }

    fn of(root: &Path, manifest: String) -> Result<Self, Failure> {
        let name = manifest::value(&manifest, "lib", "name").or_else(|| manifest::value(&manifest, "package", "name"));
        let Some(name) = name else {
            return Err(Failure::new(format!("{} has no name in [package]", root.join("Cargo.toml").display())));
        };
        Ok(Self { root: root.to_owned(), manifest, crate_name: name.replace('-', "_") })
    }

    /// A file of the site; none if it is not there.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read as text.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Failure> {
        let path = self.root.join(path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Failure::file("read", &path, &cause)),
        }
    }

    /// By the type of the transactions in `src/models.rs`.
    pub(crate) fn database(&self) -> Result<Database, Failure> {
        let models = self.read("src/models.rs")?.unwrap_or_default();
        let transaction = models.lines().find(|line| line.starts_with("pub type Tx = "));
        let kind = |name: &str| transaction.is_some_and(|line| line.contains(&format!("<{name}>")));
        if kind("Sqlite") {
            return Ok(Database::Sqlite);
        }
        if kind("Postgres") {
            return Ok(Database::Postgres);
        }
        let stack = self.read("src/stack.rs")?.unwrap_or_default();
        match ["Sqlite", "Postgres"].iter().find(|kind| stack.contains(&format!("Database::{}(", kind.to_lowercase())))
        {
            None => Ok(Database::None),
            Some(kind) => {
                Err(Failure::new("the site has a database, and src/models.rs does not say what its transactions are")
                    .remedy(format!(
                        "add to src/models.rs:\n\npub type Tx = purlin::database::Tx<purlin::sqlx::{kind}>;"
                    )))
            }
        }
    }

    /// Whether its users sign in.
    pub(crate) fn has_sign_in(&self) -> Result<bool, Failure> {
        Ok(self.read("src/stack.rs")?.is_some_and(|stack| stack.contains("SignIn::new(")))
    }
}
