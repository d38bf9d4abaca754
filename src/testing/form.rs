//! Forms found on a page: filled and submitted as a browser does it (HTML §4.10.21).

use super::html::{Element, normal};
use super::page::label;
use super::url::Url;
use super::{Multipart, Page, RequestBuilder};
use http::Method;

/// Which form of a page: its place, its `"#id"`, or its action.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The place among the forms, from 0.
    Place(usize),
    /// `#id`, or the action as it stands in the page.
    Name(&'a str),
}

impl From<usize> for Which<'_> {
    fn from(place: usize) -> Self {
        Self::Place(place)
    }
}

impl<'a> From<&'a str> for Which<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// A form with what the page filled in, to be changed and submitted. Hidden fields, such as a CSRF token, go along.
///
/// Fields are named as they are in the page; a name that is not there fails the test, with the nearest one and all others.
#[must_use = "a form is sent by `.submit().await`"]
pub struct PageForm {
    // Ready but for the fields.
    request: RequestBuilder,
    enctype: String,
    fields: Vec<Field>,
    buttons: Vec<Button>,
    // How a failed test calls it.
    shown: String,
}

struct Field {
    name: String,
    disabled: bool,
    input: Input,
}

enum Input {
    Text(String),
    Check { value: String, on: bool },
    Radio { value: String, on: bool },
    Select { options: Vec<Choice>, multiple: bool },
    File { files: Vec<File> },
}

struct Choice {
    value: String,
    label: String,
    disabled: bool,
    chosen: bool,
}

struct File {
    name: String,
    content_type: String,
    content: Vec<u8>,
}

struct Button {
    names: Vec<String>,
    entry: Option<(String, String)>,
    method: Option<String>,
    action: Option<Url>,
    enctype: Option<String>,
}

#[track_caller]
pub(super) fn find(page: &Page, which: Which<'_>) -> PageForm {
    let forms = forms(page);
    let found = match which {
        Which::Place(at) => forms.get(at).copied(),
        Which::Name(name) => forms.iter().copied().find(|form| match name.strip_prefix('#') {
            Some(id) => form.attr("id") == Some(id),
            None => form.attr("action").unwrap_or_default() == name,
        }),
    };
    match found {
        Some(form) => PageForm::of(page, form),
        None => {
            let there: Vec<String> = forms.iter().map(|form| shown(*form)).collect();
            let there = if there.is_empty() { "no forms".to_owned() } else { there.join(" ") };
            let wanted = match which {
                Which::Place(at) => format!("a form at the place {at}"),
                Which::Name(name) => format!("a form {name:?}"),
            };
            page.fail(&format!("expected {wanted}, found {there}"))
        }
    }
}

/// Presses the button with this text on it, if some form has one.
#[track_caller]
pub(super) fn press(page: &Page, text: &str) -> Option<RequestBuilder> {
    let mut having = Vec::new();
    for form in forms(page) {
        let form = PageForm::of(page, form);
        if form.button(text).is_some() {
            having.push(form);
        }
    }
    if having.len() > 1 {
        page.fail(&format!(
            "{} forms have a button {text:?}: take one by `page.form(…).press({text:?})`",
            having.len()
        ));
    }
    having.pop().map(|form| form.press(text))
}

#[track_caller]
fn forms(page: &Page) -> Vec<Element<'_>> {
    page.document().root().descendants().filter(|element| element.name() == "form").collect()
}

fn shown(form: Element<'_>) -> String {
    let attribute = |name: &str| form.attr(name).map(|value| format!(" {name}={value:?}")).unwrap_or_default();
    format!("<form{}{}{}>", attribute("id"), attribute("method"), attribute("action"))
}

/// Whether a control belongs to the form: by its attribute `form`, else by standing in it (HTML §4.10.17.3).
fn owned(control: Element<'_>, form: Element<'_>) -> bool {
    match control.attr("form") {
        Some(id) => form.attr("id") == Some(id),
        None => control.ancestors().any(|around| around.is(&form)),
    }
}

impl PageForm {
    #[track_caller]
    fn of(page: &Page, form: Element<'_>) -> Self {
        let base = page.base();
        let shown = shown(form);
        // An empty action is the page's own address (HTML §4.10.21.3).
        let action = form.attr("action").filter(|action| !action.trim().is_empty());
        let url = match action {
            Some(action) => base.join(action),
            None => Url::parse(&page.url()),
        };
        let Some(url) = url else { page.fail(&format!("{shown} leads out of the web")) };
        let request = page.navigate(method_of(form.attr("method")), url);
        let enctype = form.attr("enctype").unwrap_or_default().to_ascii_lowercase();
        let mut this = Self { request, enctype, fields: Vec::new(), buttons: Vec::new(), shown };
        for control in page.document().root().descendants().filter(|control| owned(*control, form)) {
            this.add_control(control, &base);
        }
        this
    }

    fn add_control(&mut self, control: Element<'_>, base: &Url) {
        let in_disabled = || control.ancestors().any(|a| a.name() == "fieldset" && a.attr("disabled").is_some());
        let disabled = control.attr("disabled").is_some() || in_disabled();
        let kind = control.attr("type").unwrap_or_default().to_ascii_lowercase();
        let value = control.attr("value");
        let on = control.attr("checked").is_some();
        let input = match (control.name(), kind.as_str()) {
            ("button", "button" | "reset") | ("input", "button" | "reset") => return,
            ("button", _) | ("input", "submit" | "image") => {
                if !disabled {
                    self.buttons.push(Button::of(control, base));
                }
                return;
            }
            ("input", "checkbox") => Input::Check { value: value.unwrap_or("on").to_owned(), on },
            ("input", "radio") => Input::Radio { value: value.unwrap_or("on").to_owned(), on },
            ("input", "file") => Input::File { files: Vec::new() },
            ("input", _) => Input::Text(value.unwrap_or_default().to_owned()),
            ("textarea", _) => Input::Text(control.raw_text()),
            ("select", _) => Input::select(control),
            _ => return,
        };
        // A field without a name is never sent.
        if let Some(name) = control.attr("name").filter(|name| !name.is_empty()) {
            self.fields.push(Field { name: name.to_owned(), disabled, input });
        }
    }

    /// Fills in a field: text is replaced; of radio buttons and check boxes of this name the one with the value is chosen;
    /// in a select the option with the value or label, and no other.
    ///
    /// # Panics
    ///
    /// If there is no such field or choice, or it is disabled.
    #[track_caller]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.known(name);
        let shown = self.shown.clone();
        let mut choices = Vec::new();
        let mut done = false;
        let mut text = None;
        for field in self.fields.iter_mut().filter(|field| field.name == name && !field.disabled) {
            match &mut field.input {
                Input::Text(now) => {
                    text.get_or_insert(now);
                }
                Input::Check { value: own, on } => {
                    *on |= own == value;
                    done |= own == value;
                    choices.push(own.clone());
                }
                Input::Radio { value: own, on } => {
                    *on = own == value;
                    done |= *on;
                    choices.push(own.clone());
                }
                Input::Select { options, .. } => {
                    done |= choose(options, value, true);
                    choices.extend(options.iter().map(|option| option.value.clone()));
                }
                Input::File { .. } => panic!("the field `{name}` of {shown} takes a file: see `PageForm::file`"),
            }
        }
        match text {
            // A hidden field beside a check box of its name stands for the box left empty.
            Some(text) if choices.is_empty() => *text = value.to_owned(),
            _ if done => {}
            _ => panic!("the field `{name}` of {shown} has no choice {value:?}: there are {}", listed(&choices)),
        }
        self
    }

    /// Chooses one more option of a select that takes several.
    ///
    /// # Panics
    ///
    /// If there is no such field or option.
    #[track_caller]
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.known(name);
        let mut choices = Vec::new();
        for field in self.fields.iter_mut().filter(|field| field.name == name && !field.disabled) {
            if let Input::Select { options, multiple: true } = &mut field.input {
                if choose(options, value, false) {
                    return self;
                }
                choices.extend(options.iter().map(|option| option.value.clone()));
            }
        }
        let shown = &self.shown;
        panic!("the field `{name}` of {shown} takes no further choice {value:?}: there are {}", listed(&choices))
    }

    /// Ticks the check box of this name.
    ///
    /// # Panics
    ///
    /// If there is none, or several: then [`set`](PageForm::set) takes the value too.
    #[track_caller]
    pub fn check(mut self, name: &str) -> Self {
        let values: Vec<String> = self.boxes(name).map(|(value, _)| value.clone()).collect();
        match &values[..] {
            [_] => self.boxes(name).for_each(|(_, on)| *on = true),
            several => {
                let shown = &self.shown;
                panic!("expected one check box `{name}` in {shown}, found {}: {}", several.len(), listed(several))
            }
        }
        self
    }

    /// Takes the tick off every check box of this name.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn uncheck(mut self, name: &str) -> Self {
        self.known(name);
        assert!(self.boxes(name).next().is_some(), "the field `{name}` of {} is no check box", self.shown);
        self.boxes(name).for_each(|(_, on)| *on = false);
        self
    }

    fn boxes<'a>(&'a mut self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a mut bool)> {
        self.fields.iter_mut().filter(move |field| field.name == name && !field.disabled).filter_map(|field| {
            match &mut field.input {
                Input::Check { value, on } => Some((&*value, on)),
                _ => None,
            }
        })
    }

    /// Puts a file into a field; called again, one more.
    ///
    /// # Panics
    ///
    /// If there is no such field, or it takes no file.
    #[track_caller]
    pub fn file(mut self, name: &str, file_name: &str, content_type: &str, content: impl AsRef<[u8]>) -> Self {
        self.known(name);
        let field = self.fields.iter_mut().find(|field| field.name == name);
        let Some(Field { input: Input::File { files }, .. }) = field else {
            panic!("the field `{name}` of {} takes no file", self.shown);
        };
        files.push(File {
            name: file_name.to_owned(),
            content_type: content_type.to_owned(),
            content: content.as_ref().to_vec(),
        });
        self
    }

    /// Names and values as they would be sent now.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        for field in self.fields.iter().filter(|field| !field.disabled) {
            let mut add = |value: &str| entries.push((field.name.clone(), value.to_owned()));
            match &field.input {
                Input::Text(text) => add(text),
                Input::Check { value, on } | Input::Radio { value, on } => {
                    if *on {
                        add(value);
                    }
                }
                Input::Select { options, .. } => {
                    options
                        .iter()
                        .filter(|option| option.chosen && !option.disabled)
                        .for_each(|option| add(&option.value));
                }
                Input::File { files } if files.is_empty() => add(""),
                Input::File { files } => files.iter().for_each(|file| add(&file.name)),
            }
        }
        entries
    }

    /// The value of a field as it would be sent now, of several the first; `None` where it would not be.
    ///
    /// # Panics
    ///
    /// If there is no such field.
    #[track_caller]
    pub fn value(&self, name: &str) -> Option<String> {
        self.known(name);
        self.fields().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Begins the request that a browser makes when its reader presses Enter: that of the first button.
    #[track_caller]
    pub fn submit(mut self) -> RequestBuilder {
        let button = if self.buttons.is_empty() { None } else { Some(self.buttons.remove(0)) };
        self.send(button)
    }

    /// Begins the request that a browser makes when its reader presses the button of this text, name, value or id.
    ///
    /// # Panics
    ///
    /// If there is no such button.
    #[track_caller]
    pub fn press(mut self, button: &str) -> RequestBuilder {
        let Some(at) = self.button(button) else {
            let there: Vec<String> = self.buttons.iter().flat_map(|button| button.names.first().cloned()).collect();
            panic!("{} has no button {button:?}: there are {}", self.shown, listed(&there));
        };
        let button = self.buttons.remove(at);
        self.send(Some(button))
    }

    fn button(&self, name: &str) -> Option<usize> {
        let name = normal(name);
        self.buttons.iter().position(|button| button.names.contains(&name))
    }

    #[track_caller]
    fn known(&self, name: &str) {
        let of_name = || self.fields.iter().filter(|field| field.name == name);
        if of_name().next().is_none() {
            let names = self.fields.iter().map(|field| field.name.as_str());
            let nearest = match crate::nearest::nearest(name, names.clone()) {
                Some(nearest) => format!(": did you mean `{nearest}`?"),
                None => ".".to_owned(),
            };
            let mut there: Vec<String> = names.map(str::to_owned).collect();
            there.dedup();
            panic!("{} has no field `{name}`{nearest} There are {}", self.shown, listed(&there));
        }
        assert!(of_name().any(|field| !field.disabled), "the field `{name}` of {} is disabled", self.shown);
    }

    fn send(mut self, button: Option<Button>) -> RequestBuilder {
        let mut entries = self.fields();
        let mut button = button;
        if let Some(button) = &mut button {
            entries.extend(button.entry.take());
            if let Some(method) = button.method.take() {
                self.request.method = method_of(Some(&method));
            }
            if let Some(action) = button.action.take() {
                self.request.url = action;
            }
            self.enctype = button.enctype.take().unwrap_or(self.enctype);
        }
        // Whatever the page's line breaks are, a browser sends CR LF (HTML §4.10.21.4).
        for (name, value) in &mut entries {
            *name = with_crlf(name);
            *value = with_crlf(value);
        }
        if self.request.method == Method::GET {
            self.request.url.query = Some(super::urlencoded(&entries));
            return self.request;
        }
        match self.enctype.as_str() {
            "multipart/form-data" => {
                let form = self.multipart(&entries);
                self.request.multipart(form)
            }
            "text/plain" => {
                let lines: String = entries.iter().map(|(name, value)| format!("{name}={value}\r\n")).collect();
                self.request.typed("text/plain", lines)
            }
            _ => self.request.form(&entries),
        }
    }

    fn multipart(&self, entries: &[(String, String)]) -> Multipart {
        let inputs = self.fields.iter().filter(|field| !field.disabled).filter_map(|field| match &field.input {
            Input::File { files } => Some((&field.name, files)),
            _ => None,
        });
        let is_file = |name: &String| inputs.clone().any(|(input, _)| input == name);
        // Each file has an entry, and an input without one too: so both are in the order of the page.
        let mut files = inputs.clone().flat_map(|(_, files)| match &files[..] {
            [] => vec![None],
            files => files.iter().map(Some).collect(),
        });
        entries.iter().fold(Multipart::new(), |form, (name, value)| {
            match is_file(name).then(|| files.next()).flatten() {
                None => form.text(name, value),
                Some(None) => form.file(name, "", "application/octet-stream", []),
                Some(Some(file)) => form.file(name, &file.name, &file.content_type, &file.content),
            }
        })
    }
}

impl std::fmt::Debug for PageForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.shown, self.fields())
    }
}

impl Input {
    fn select(control: Element<'_>) -> Self {
        let multiple = control.attr("multiple").is_some();
        let mut options: Vec<Choice> = control
            .descendants()
            .filter(|element| element.name() == "option")
            .map(|option| {
                let label = option.text();
                let in_disabled = || option.ancestors().any(|a| a.name() == "optgroup" && a.attr("disabled").is_some());
                Choice {
                    value: option.attr("value").map_or_else(|| label.clone(), str::to_owned),
                    disabled: option.attr("disabled").is_some() || in_disabled(),
                    chosen: option.attr("selected").is_some(),
                    label,
                }
            })
            .collect();
        if !multiple {
            // One is always chosen: the last that says so, else the first that can be (HTML §4.10.7).
            let last = options.iter().rposition(|option| option.chosen);
            let chosen = last.or_else(|| options.iter().position(|option| !option.disabled));
            for (at, option) in options.iter_mut().enumerate() {
                option.chosen = Some(at) == chosen;
            }
        }
        Self::Select { options, multiple }
    }
}

/// Chooses the option with this value or label; whether there is one.
fn choose(options: &mut [Choice], value: &str, only: bool) -> bool {
    let by_value = options.iter().position(|option| option.value == value && !option.disabled);
    let found = by_value.or_else(|| options.iter().position(|option| option.label == value && !option.disabled));
    if let Some(found) = found {
        for (at, option) in options.iter_mut().enumerate() {
            option.chosen = at == found || (option.chosen && !only);
        }
    }
    found.is_some()
}

impl Button {
    fn of(control: Element<'_>, base: &Url) -> Self {
        let attribute = |name: &str| control.attr(name).map(str::to_owned);
        let value = attribute("value");
        let text =
            if control.name() == "input" { value.clone().unwrap_or("Submit".to_owned()) } else { label(control) };
        let names = [Some(normal(&text)), attribute("name"), value.clone(), attribute("id")];
        Self {
            names: names.into_iter().flatten().collect(),
            entry: attribute("name").filter(|name| !name.is_empty()).map(|name| (name, value.unwrap_or_default())),
            method: attribute("formmethod"),
            action: control.attr("formaction").and_then(|action| base.join(action)),
            enctype: attribute("formenctype").map(|enctype| enctype.to_ascii_lowercase()),
        }
    }
}

/// Anything but `post` is `get` (HTML §4.10.21.5).
fn method_of(method: Option<&str>) -> Method {
    if method.is_some_and(|method| method.eq_ignore_ascii_case("post")) { Method::POST } else { Method::GET }
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

fn listed(words: &[String]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}
