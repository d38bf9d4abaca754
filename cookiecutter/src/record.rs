//! `.purlin.json`: what a site was made from, by which `purlin upgrade` tells what has changed in the template since.

use crate::answers::Answers;
use crate::failure::Failure;
use crate::questions::Given;
use crate::render::{Node, Site};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Its name, in the site's folder.
pub(crate) const FILE: &str = ".purlin.json";

const ABOUT: &str =
    "What `purlin new` wrote here, for `purlin upgrade` to tell what has changed since. It belongs into git.";

/// What a tool of some version made of a template and these answers.
pub(crate) struct Record {
    /// The version of the tool.
    pub(crate) version: String,
    /// The folder of the template, as it was given; none for the one that the tool carries.
    pub(crate) template: Option<String>,
    pub(crate) answers: Given,
    /// By path, what git calls the text that was written there (`git hash-object`).
    pub(crate) files: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn of(site: &Site<'_>, answers: &Answers, template: Option<&Path>) -> Self {
        let files = site.iter().filter_map(|(path, node)| match node {
            Node::File { bytes, .. } if path != FILE => Some((path.clone(), blob_id(bytes))),
            _ => None,
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            template: template.map(|folder| folder.to_string_lossy().into_owned()),
            answers: answers.given(),
            files: files.collect(),
        }
    }

    /// The record of the site in this folder; none if it has none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, Failure> {
        let path = root.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Failure::file("read", &path, &cause)),
        };
        let wrong = |message: &str| Failure::new(format!("{}: {message}", path.display()));
        let json: Json = serde_json::from_str(&text).map_err(|cause| wrong(&cause.to_string()))?;
        let texts = |key: &str| -> Result<BTreeMap<String, String>, Failure> {
            let table = json[key].as_object().ok_or_else(|| wrong(&format!("`{key}` is not a table")))?;
            let pairs = table.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            pairs.collect::<Option<_>>().ok_or_else(|| wrong(&format!("`{key}` holds something that is not text")))
        };
        Ok(Some(Self {
            version: json["purlin"].as_str().ok_or_else(|| wrong("`purlin` is not a version"))?.to_owned(),
            template: json["template"].as_str().map(str::to_owned),
            answers: texts("answers")?,
            files: texts("files")?,
        }))
    }

    pub(crate) fn text(&self) -> String {
        let mut table = Map::new();
        table.insert("about".to_owned(), json!(ABOUT));
        table.insert("purlin".to_owned(), json!(self.version));
        if let Some(template) = &self.template {
            table.insert("template".to_owned(), json!(template));
        }
        table.insert("answers".to_owned(), json!(self.answers));
        table.insert("files".to_owned(), json!(self.files));
        format!("{:#}\n", Json::Object(table))
    }
}

/// What git calls this content, in a repository of SHA-1 (gitformat-pack(5), "Object").
pub(crate) fn blob_id(bytes: &[u8]) -> String {
    let mut sha = sha1_smol::Sha1::new();
    sha.update(format!("blob {}\0", bytes.len()).as_bytes());
    sha.update(bytes);
    sha.digest().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_has_the_id_that_git_gives_it() {
        assert_eq!(super::blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(super::blob_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
