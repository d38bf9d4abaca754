//! `purlin new --interactive`: asks on standard output, reads from standard input.

use crate::answers::Answer;
use crate::failure::Failure;
use crate::questions::Question;
use crate::screen::{Paint, say};
use std::io::{self, BufRead};

/// Asks until there is an answer that can be; an empty line takes the default. `refused` is why the answer before was none.
///
/// # Errors
///
/// Standard input ended, or cannot be read.
pub(crate) fn ask(question: &Question<'_>, refused: Option<&str>) -> Result<Answer, Failure> {
    let paint = Paint::stdout();
    if let Some(reason) = refused {
        say(&format!("    {} {reason}\n", paint.red("no:")))?;
    }
    let (number, count) = question.number;
    let mut text = format!("{} {}", paint.dim(&format!("{number}/{count}")), question.prompt);
    if !question.choices.is_empty() {
        text.push_str("?\n");
        let width = question.choices.iter().map(|(choice, _)| choice.chars().count()).max().unwrap_or(0);
        for (index, (choice, label)) in question.choices.iter().enumerate() {
            let line = format!("      {}  {choice:width$}  {label}", index + 1);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push_str("    Number or name");
    }
    let default = question.checked_default().ok();
    if let Some(default) = &default {
        text.push_str(&format!(" [{}]", paint.bold(&default.text())));
    }
    text.push_str(": ");
    loop {
        say(&text)?;
        let line = line(question.key)?;
        let typed = line.trim();
        if typed.is_empty()
            && let Some(default) = &default
        {
            return Ok(default.clone());
        }
        let by_number = typed.parse::<usize>().ok().and_then(|number| question.choices.get(number.checked_sub(1)?));
        match question.read(by_number.map_or(typed, |(choice, _)| choice)) {
            Ok(answer) => return Ok(answer),
            Err(reason) => say(&format!("    {} {reason}\n", paint.red("no:")))?,
        }
    }
}

fn line(key: &str) -> Result<String, Failure> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => Err(Failure::new(format!("the input ended before `{key}` was answered; nothing was written"))),
        Ok(_) => Ok(line),
        Err(cause) => Err(Failure::new(format!("could not read the answer to `{key}`: {cause}"))),
    }
}
