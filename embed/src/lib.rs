//! Purlin's macros: `embed!`, a folder of the site, read from disk in a debug build and held in the executable in a release build; and
//! `#[test]`, for tests that are `async`.
//!
//! Procedural macros, since nothing else can list a folder at compile time; written on `proc_macro` alone, so that a site
//! compiles no parser for them.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// The files below a folder, named relative to the crate's `Cargo.toml`, as a `purlin::Assets`.
///
/// In a debug build the files are read from disk when they are asked for, so that an edit shows at once. With
/// `debug_assertions` off (a release build) their bytes are in the executable, which then needs no folder beside it.
/// Names that begin with a dot are left out.
///
/// # Errors
///
/// A compile error names the folder when it is missing or holds a file that cannot be read.
///
/// ```ignore
/// let templates = purlin::embed!("templates");
/// ```
#[proc_macro]
pub fn embed(input: TokenStream) -> TokenStream {
    expand(input).unwrap_or_else(|message| compile_error(&message))
}

fn expand(input: TokenStream) -> Result<TokenStream, String> {
    let folder = folder_name(input)?;
    let root = std::env::var_os("CARGO_MANIFEST_DIR")
        .ok_or("embed! needs to be compiled by cargo, which names the crate's folder")?;
    let path = Path::new(&root).join(&folder);
    if !path.is_dir() {
        return Err(format!("embed!({folder:?}): there is no folder {}", path.display()));
    }
    let mut files = Vec::new();
    list(&path, &mut files).map_err(|error| format!("embed!({folder:?}): {error}"))?;
    files.sort();

    let mut entries = String::new();
    for file in &files {
        let name = file.strip_prefix(&path).expect("listed below the folder");
        let name =
            name.to_str().ok_or_else(|| format!("embed!({folder:?}): the name of {} is not UTF-8", file.display()))?;
        let full =
            file.to_str().ok_or_else(|| format!("embed!({folder:?}): the path of {} is not UTF-8", file.display()))?;
        entries.push_str(&format!("({:?}, ::core::include_bytes!({full:?})),", name.replace('\\', "/")));
    }
    let full = path.to_str().ok_or("embed!: the crate's path is not UTF-8")?;
    // The debug branch must not hold the bytes: `cfg` in the site's crate, where this expands, decides.
    let code = format!(
        "{{ #[cfg(debug_assertions)] {{ ::purlin::Assets::folder({full:?}) }} \
           #[cfg(not(debug_assertions))] {{ ::purlin::Assets::embedded(&[{entries}]) }} }}"
    );
    code.parse().map_err(|error| format!("embed!({folder:?}): {error}"))
}

fn folder_name(input: TokenStream) -> Result<String, String> {
    let tokens: Vec<TokenTree> = input.into_iter().collect();
    if let [TokenTree::Literal(literal)] = tokens.as_slice() {
        let text = literal.to_string();
        if let Some(name) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
            && !name.is_empty()
            && !name.contains('\\')
        {
            return Ok(name.to_owned());
        }
    }
    Err("embed! takes the name of one folder, as in embed!(\"templates\")".to_owned())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Makes a test of an `async fn`: it is run by `purlin::testing::block_on`, in a runtime of its own on this thread.
///
/// Attributes such as `#[ignore]` and `#[should_panic]`, and what the function returns, mean what they mean for `#[test]`. A site
/// that has this needs no tokio of its own for its tests, whose features would have it compiled anew for them.
///
/// # Errors
///
/// A compile error says what was expected: a function without arguments.
///
/// ```ignore
/// #[purlin::test]
/// async fn the_start_page_is_there() {
///     Client::new(stack()).get("/").await.assert_status(200);
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, function: TokenStream) -> TokenStream {
    match test_of(arguments, function.clone()) {
        Ok(test) => test,
        // With the function, so that this is the only error.
        Err(message) => [compile_error(&message), ";".parse().unwrap_or_default(), function].into_iter().collect(),
    }
}

fn test_of(arguments: TokenStream, function: TokenStream) -> Result<TokenStream, String> {
    if !arguments.is_empty() {
        return Err(format!("#[purlin::test] takes no arguments, found {arguments}"));
    }
    let tokens: Vec<TokenTree> = function.into_iter().collect();
    let is =
        |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident.to_string() == word);
    let keyword = (0..tokens.len()).find(|at| is(*at, "fn")).ok_or("#[purlin::test] stands above a function")?;
    match tokens.get(keyword + 2) {
        Some(TokenTree::Group(arguments)) if arguments.stream().is_empty() => {}
        _ => return Err("a test is a function without arguments: nobody has any to give".to_owned()),
    }
    let attribute: TokenStream = "#[::core::prelude::v1::test]".parse().map_err(|error| format!("{error}"))?;
    if keyword == 0 || !is(keyword - 1, "async") {
        return Ok(attribute.into_iter().chain(tokens).collect());
    }
    let (Some(name), Some(body)) = (tokens.get(keyword + 1), tokens.last()) else {
        return Err("#[purlin::test] stands above a function with a body".to_owned());
    };
    let runs: TokenStream =
        format!("::purlin::testing::block_on({name}())").parse().map_err(|error| format!("{error}"))?;
    // The function as it is, in one of the same name that is no `async fn`.
    let within = tokens[keyword - 1..].iter().cloned().chain(runs).collect();
    let mut group = Group::new(Delimiter::Brace, within);
    group.set_span(body.span());
    let head = tokens[..keyword - 1].iter().chain(&tokens[keyword..tokens.len() - 1]).cloned();
    Ok(attribute.into_iter().chain(head).chain([TokenTree::Group(group)]).collect())
}

fn compile_error(message: &str) -> TokenStream {
    let argument =
        TokenTree::Group(Group::new(Delimiter::Parenthesis, TokenTree::Literal(Literal::string(message)).into()));
    [
        TokenTree::Ident(Ident::new("compile_error", Span::call_site())),
        TokenTree::Punct(Punct::new('!', Spacing::Alone)),
        argument,
    ]
    .into_iter()
    .collect()
}
