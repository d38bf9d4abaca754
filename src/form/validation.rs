//! Rules that garde checks, in words for visitors.

use super::Problems;
use garde::i18n::{I18n, InvalidCreditCard, InvalidEmail, InvalidPhoneNumber, InvalidUrl, IpKind, with_i18n};
use garde::{Report, Validate};
use std::borrow::Cow;
use std::fmt::Display;

impl Problems {
    /// Adds what `#[derive(garde::Validate)]` finds, in plain English.
    ///
    /// garde names a field as the struct does: one that `#[serde(rename)]` calls otherwise in the form needs
    /// `#[garde(rename)]` too, or a rule by hand.
    ///
    /// ```
    /// use purlin::form::{Problems, Rules};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, garde::Validate)]
    /// struct Guest {
    ///     #[garde(length(chars, min = 1, max = 60))]
    ///     name: String,
    ///     #[garde(range(min = 1, max = 8))]
    ///     seats: u8,
    /// }
    ///
    /// impl Rules for Guest {
    ///     fn check(&self, problems: &mut Problems) {
    ///         problems.validate(self);
    ///     }
    /// }
    /// ```
    pub fn validate<T: Validate<Context: Default>>(&mut self, value: &T) {
        if let Err(report) = with_i18n(Plain, || value.validate()) {
            self.report(report);
        }
    }

    /// Adds what a report says: of a value that was validated with a context, or in another language.
    pub fn report(&mut self, report: Report) {
        for (path, error) in report.into_inner() {
            self.list.push((name(&path.to_string()), "validation", error.message().to_owned().into()));
        }
    }
}

/// garde's `lines[0].name` as the form has it: `lines[0][name]`.
fn name(path: &str) -> String {
    let mut parts = path.split('.');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // `b[0]` of `a.b[0]` is `[b][0]`.
        match part.split_once('[') {
            Some((part, rest)) => name.extend(["[", part, "][", rest]),
            None => name.extend(["[", part, "]"]),
        }
    }
    name
}

/// What garde finds, as one would say it to a visitor.
struct Plain;

impl I18n for Plain {
    fn length_lower_than(&self, min: usize) -> Cow<'static, str> {
        match min {
            1 => "Please fill in this field.".into(),
            min => format!("This must have a length of at least {min}.").into(),
        }
    }

    fn length_greater_than(&self, max: usize) -> Cow<'static, str> {
        format!("This must have a length of at most {max}.").into()
    }

    fn range_lower_than(&self, min: &dyn Display) -> Cow<'static, str> {
        format!("This must be {min} or more.").into()
    }

    fn range_greater_than(&self, max: &dyn Display) -> Cow<'static, str> {
        format!("This must be {max} or less.").into()
    }

    fn credit_card_invalid(&self, _: InvalidCreditCard) -> Cow<'static, str> {
        "This is not the number of a credit card.".into()
    }

    // A regular expression is nothing to show to anybody.
    fn pattern_no_match(&self, _: &dyn Display) -> Cow<'static, str> {
        "This is not in the form that was asked for.".into()
    }

    fn contains_missing(&self, pattern: &dyn Display) -> Cow<'static, str> {
        format!("This must contain \u{201c}{pattern}\u{201d}.").into()
    }

    fn url_invalid(&self, _: InvalidUrl) -> Cow<'static, str> {
        "This is not a web address, as https://example.org/.".into()
    }

    fn prefix_missing(&self, pattern: &dyn Display) -> Cow<'static, str> {
        format!("This must begin with \u{201c}{pattern}\u{201d}.").into()
    }

    fn suffix_missing(&self, pattern: &dyn Display) -> Cow<'static, str> {
        format!("This must end with \u{201c}{pattern}\u{201d}.").into()
    }

    fn phone_number_invalid(&self, _: InvalidPhoneNumber) -> Cow<'static, str> {
        "This is not a telephone number.".into()
    }

    fn ip_invalid(&self, kind: IpKind) -> Cow<'static, str> {
        format!("This is not an {kind} address.").into()
    }

    fn matches_field_mismatch(&self, _: &dyn Display) -> Cow<'static, str> {
        "The two are not the same.".into()
    }

    fn email_invalid(&self, reason: InvalidEmail) -> Cow<'static, str> {
        match reason {
            InvalidEmail::Empty => "Please fill in this field.".into(),
            InvalidEmail::MissingAt => "An e-mail address has an @ in it, as name@example.org.".into(),
            _ => "This is not an e-mail address, as name@example.org.".into(),
        }
    }

    fn ascii_invalid(&self) -> Cow<'static, str> {
        "Please use the letters a to z without accents.".into()
    }

    fn alphanumeric_invalid(&self) -> Cow<'static, str> {
        "Please use letters and digits only.".into()
    }

    fn required_not_set(&self) -> Cow<'static, str> {
        "Please fill in this field.".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_garde_is_the_name_of_a_field() {
        let table = [
            ("name", "name"),
            ("address.city", "address[city]"),
            ("lines[0].name", "lines[0][name]"),
            ("a.b[0].c[1][2]", "a[b][0][c][1][2]"),
            ("tags[3]", "tags[3]"),
            ("", ""),
        ];
        for (path, expected) in table {
            assert_eq!(name(path), expected);
        }
    }
}
