//! The prompt's language: expressions of Rust that only look.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::Mistake;
use std::ops::Range;

/// An expression, and where it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) at: Range<usize>,
    depth: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Its type, if a suffix says so.
    Integer(u128, Option<&'static str>),
    Float(f64, Option<&'static str>),
    Bool(bool),
    Char(char),
    Text(String),
    /// `x`, `u32::MAX`, `Kind::A`.
    Path(Vec<String>),
    /// `Some(1)`, `Kind::B(2)`.
    Construct(Vec<String>, Vec<Expr>),
    Field(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Method(Box<Expr>, String, Vec<Expr>),
    Closure(Vec<Pattern>, Box<Expr>),
    /// Begin, end, and whether the end belongs to it.
    Range(Option<Box<Expr>>, Option<Box<Expr>>, bool),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Cast(Box<Expr>, String),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
}

/// What a closure's argument is taken apart by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pattern {
    Any,
    Name(String),
    Tuple(Vec<Pattern>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unary {
    Negate,
    Not,
    Reference,
    Dereference,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    BitOr,
    BitXor,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// The operators, the longer ones first, and how tightly they bind.
const OPERATORS: [(&str, Binary, u8); 18] = [
    ("||", Binary::Or, 1),
    ("&&", Binary::And, 2),
    ("==", Binary::Equal, 3),
    ("!=", Binary::Unequal, 3),
    ("<=", Binary::LessOrEqual, 3),
    (">=", Binary::GreaterOrEqual, 3),
    ("<<", Binary::ShiftLeft, 7),
    (">>", Binary::ShiftRight, 7),
    ("<", Binary::Less, 3),
    (">", Binary::Greater, 3),
    ("|", Binary::BitOr, 4),
    ("^", Binary::BitXor, 5),
    ("&", Binary::BitAnd, 6),
    ("+", Binary::Add, 8),
    ("-", Binary::Subtract, 8),
    ("*", Binary::Multiply, 9),
    ("/", Binary::Divide, 9),
    ("%", Binary::Remainder, 9),
];

/// What would change something, and is refused by name.
const ASSIGNMENTS: [&str; 11] = ["+=", "-=", "*=", "/=", "%=", "^=", "|=", "&=", "<<=", ">>=", "="];

/// The names of the numbers' types.
pub(crate) const INTEGERS: [&str; 12] =
    ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
pub(crate) const FLOATS: [&str; 2] = ["f32", "f64"];

/// The longest text that is taken: nobody types more.
pub(crate) const LONGEST: usize = 4096;
/// How deep expressions may be nested; what walks them recurses.
const DEEPEST: usize = 64;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Mistake> {
    if text.len() > LONGEST {
        return Err(Mistake::new(format!("an expression is at most {LONGEST} bytes, not {}", text.len()), 0..0));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.space();
    if parser.rest().is_empty() {
        return Err(Mistake::new("an expression is expected".to_owned(), 0..0));
    }
    let expr = parser.range()?;
    parser.space();
    // A statement's end does no harm.
    parser.eat(";");
    parser.space();
    let rest = parser.rest();
    if rest.is_empty() {
        return Ok(expr);
    }
    let at = parser.at..text.len();
    if ASSIGNMENTS.iter().any(|assignment| rest.starts_with(assignment)) {
        return Err(Mistake::new("the prompt only reads: it cannot assign".to_owned(), at));
    }
    Err(match rest.chars().next() {
        Some('(') => Mistake::new("the prompt only reads: it cannot call functions of the program".to_owned(), at),
        Some('!') => Mistake::new("the prompt only reads: it has no macros".to_owned(), at),
        Some('{') => Mistake::new("blocks and struct literals are not understood".to_owned(), at),
        Some('?') => Mistake::new("`?` returns; use .unwrap() to look inside".to_owned(), at),
        first => Mistake::new(format!("{:?} is not expected here", first.unwrap_or(' ')), at),
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.text.len());
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.skip(rest.len().saturating_sub(rest.trim_start().len()));
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.skip(token.len());
        }
        found
    }

    fn expect(&mut self, token: &str, of: &str) -> Result<(), Mistake> {
        if self.eat(token) {
            return Ok(());
        }
        let found = match self.peek() {
            Some(found) => format!("{found:?}"),
            None => "the end".to_owned(),
        };
        Err(self.mistake(format!("`{token}` is expected {of}, not {found}")))
    }

    fn mistake(&self, message: String) -> Mistake {
        let next = self.peek().map_or(0, char::len_utf8);
        Mistake::new(message, self.at..self.at.saturating_add(next))
    }

    /// An expression of these parts that began at `from`.
    fn expr(&self, from: usize, kind: Kind) -> Result<Expr, Mistake> {
        let depth = match &kind {
            Kind::Field(a, _) | Kind::Closure(_, a) | Kind::Unary(_, a) | Kind::Cast(a, _) => a.depth,
            Kind::Index(a, b) | Kind::Binary(_, a, b) => a.depth.max(b.depth),
            Kind::Method(a, _, all) => all.iter().fold(a.depth, |depth, expr| depth.max(expr.depth)),
            Kind::Construct(_, all) | Kind::Tuple(all) | Kind::List(all) => {
                all.iter().fold(0, |depth, expr| depth.max(expr.depth))
            }
            Kind::Range(a, b, _) => [a, b].into_iter().flatten().fold(0, |depth, expr| depth.max(expr.depth)),
            _ => 0,
        };
        let depth = depth.saturating_add(1);
        if depth > DEEPEST {
            return Err(Mistake::new(format!("more than {DEEPEST} levels"), from..self.at));
        }
        Ok(Expr { kind, at: from..self.at, depth })
    }

    /// Goes down a level of what recurses.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.depth >= DEEPEST {
            return Err(self.mistake(format!("more than {DEEPEST} levels")));
        }
        self.depth = self.depth.saturating_add(1);
        let parsed = parse(self);
        self.depth = self.depth.saturating_sub(1);
        parsed
    }

    fn range(&mut self) -> Result<Expr, Mistake> {
        self.space();
        let from = self.at;
        let begin = if self.rest().starts_with("..") { None } else { Some(Box::new(self.binary(0)?)) };
        self.space();
        if !self.rest().starts_with("..") {
            // `begin` is there, or the text would begin with the dots.
            return begin.map(|expr| *expr).ok_or_else(|| self.mistake("an expression is expected".to_owned()));
        }
        let inclusive = self.eat("..=");
        if !inclusive {
            self.eat("..");
        }
        self.space();
        let open = self.rest().is_empty() || self.rest().starts_with([']', ')', ',', ';']);
        if open && inclusive {
            return Err(self.mistake("`..=` needs an end".to_owned()));
        }
        let end = if open { None } else { Some(Box::new(self.binary(0)?)) };
        self.expr(from, Kind::Range(begin, end, inclusive))
    }

    /// Operators that bind tighter than `least`, by climbing.
    fn binary(&mut self, least: u8) -> Result<Expr, Mistake> {
        self.nested(|parser| {
            parser.space();
            let from = parser.at;
            let mut left = parser.cast()?;
            loop {
                parser.space();
                let rest = parser.rest();
                if ASSIGNMENTS.iter().any(|token| rest.starts_with(token)) && !rest.starts_with("==") {
                    return Ok(left);
                }
                let found = OPERATORS.iter().find(|(token, ..)| rest.starts_with(token));
                let Some(&(token, operator, binds)) = found.filter(|(_, _, binds)| *binds > least) else {
                    return Ok(left);
                };
                parser.skip(token.len());
                let right = parser.binary(binds)?;
                left = parser.expr(from, Kind::Binary(operator, Box::new(left), Box::new(right)))?;
            }
        })
    }

    fn unary(&mut self) -> Result<Expr, Mistake> {
        self.space();
        let from = self.at;
        let operator = match self.peek() {
            Some('-') => Unary::Negate,
            Some('!') => Unary::Not,
            Some('*') => Unary::Dereference,
            Some('&') => Unary::Reference,
            _ => return self.postfix(),
        };
        self.skip(1);
        if operator == Unary::Reference {
            self.space();
            if word(self.rest()) == "mut" {
                self.skip(3);
            }
        }
        let of = self.nested(Self::unary)?;
        self.expr(from, Kind::Unary(operator, Box::new(of)))
    }

    fn cast(&mut self) -> Result<Expr, Mistake> {
        self.space();
        let from = self.at;
        let mut expr = self.unary()?;
        loop {
            self.space();
            if word(self.rest()) != "as" {
                return Ok(expr);
            }
            self.skip(2);
            self.space();
            let name = word(self.rest()).to_owned();
            if !INTEGERS.contains(&name.as_str()) && !FLOATS.contains(&name.as_str()) && name != "char" {
                return Err(self.mistake("`as` makes numbers and chars only".to_owned()));
            }
            self.skip(name.len());
            expr = self.expr(from, Kind::Cast(Box::new(expr), name))?;
        }
    }

    fn postfix(&mut self) -> Result<Expr, Mistake> {
        self.space();
        let from = self.at;
        let mut expr = self.primary()?;
        loop {
            self.space();
            if self.rest().starts_with('.') && !self.rest().starts_with("..") {
                self.skip(1);
                self.space();
                let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
                let name = if digits > 0 { self.rest().get(..digits).unwrap_or("") } else { word(self.rest()) };
                if name.is_empty() {
                    return Err(self.mistake("a field or a method is expected after `.`".to_owned()));
                }
                if name == "await" {
                    return Err(self.mistake("the prompt only reads: it cannot wait for a future".to_owned()));
                }
                let name = name.to_owned();
                self.skip(name.len());
                self.turbofish()?;
                expr = if self.eat("(") {
                    let arguments = self.list(")")?;
                    self.expr(from, Kind::Method(Box::new(expr), name, arguments))?
                } else {
                    self.expr(from, Kind::Field(Box::new(expr), name))?
                };
            } else if self.rest().starts_with('[') {
                self.skip(1);
                let index = self.nested(Self::range)?;
                self.expect("]", "after the index")?;
                expr = self.expr(from, Kind::Index(Box::new(expr), Box::new(index)))?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// `::<f64>` of a method: no result depends on it.
    fn turbofish(&mut self) -> Result<(), Mistake> {
        self.space();
        if !self.rest().starts_with("::<") {
            return Ok(());
        }
        let mut open = 0_usize;
        for (at, c) in self.rest().char_indices() {
            match c {
                '<' => open = open.saturating_add(1),
                '>' if open == 1 => {
                    self.skip(at.saturating_add(1));
                    return Ok(());
                }
                '>' => open = open.saturating_sub(1),
                _ => {}
            }
        }
        Err(self.mistake("`>` is missing".to_owned()))
    }

    /// Expressions with commas between, up to a bracket.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, Mistake> {
        let mut all = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(all);
            }
            all.push(self.nested(|parser| {
                parser.space();
                if parser.rest().starts_with('|') { parser.closure() } else { parser.range() }
            })?);
            if !self.eat(",") {
                self.expect(close, "here")?;
                return Ok(all);
            }
        }
    }

    fn closure(&mut self) -> Result<Expr, Mistake> {
        let from = self.at;
        self.skip(1);
        let mut patterns = Vec::new();
        while !self.eat("|") {
            patterns.push(self.pattern()?);
            if !self.eat(",") {
                self.expect("|", "after the closure's arguments")?;
                break;
            }
        }
        let body = self.nested(Self::range)?;
        self.expr(from, Kind::Closure(patterns, Box::new(body)))
    }

    fn pattern(&mut self) -> Result<Pattern, Mistake> {
        self.nested(|parser| {
            parser.space();
            while parser.eat("&") {}
            if parser.eat("(") {
                let mut parts = Vec::new();
                while !parser.eat(")") {
                    parts.push(parser.pattern()?);
                    if !parser.eat(",") {
                        parser.expect(")", "in the pattern")?;
                        break;
                    }
                }
                return Ok(Pattern::Tuple(parts));
            }
            let name = word(parser.rest());
            if name.is_empty() {
                return Err(parser.mistake("a name is expected".to_owned()));
            }
            parser.skip(name.len());
            Ok(if name == "_" { Pattern::Any } else { Pattern::Name(name.to_owned()) })
        })
    }

    fn primary(&mut self) -> Result<Expr, Mistake> {
        let from = self.at;
        match self.peek() {
            None => Err(self.mistake("an expression is expected, not the end".to_owned())),
            Some('(') => {
                self.skip(1);
                let begin = self.at;
                let mut all = self.list(")")?;
                let inside = self.text.get(begin..self.at).unwrap_or("");
                let tuple = all.len() != 1 || inside.trim_end_matches([')', ' ']).ends_with(',');
                match all.pop() {
                    Some(only) if !tuple => Ok(only),
                    last => {
                        all.extend(last);
                        self.expr(from, Kind::Tuple(all))
                    }
                }
            }
            Some('[') => {
                self.skip(1);
                let all = self.list("]")?;
                self.expr(from, Kind::List(all))
            }
            Some('"') => {
                self.skip(1);
                let text = self.quoted('"')?;
                self.expr(from, Kind::Text(text))
            }
            Some('\'') => {
                self.skip(1);
                let text = self.quoted('\'')?;
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(only), None) => self.expr(from, Kind::Char(only)),
                    _ => Err(Mistake::new("a char is one character".to_owned(), from..self.at)),
                }
            }
            Some(c) if c.is_ascii_digit() => self.number(),
            Some('r') if self.rest().starts_with("r\"") || self.rest().starts_with("r#") => self.raw(),
            Some('b') if self.rest().starts_with("b'") => {
                self.skip(2);
                let text = self.quoted('\'')?;
                match text.as_bytes() {
                    [byte] => self.expr(from, Kind::Integer(u128::from(*byte), Some("u8"))),
                    _ => Err(Mistake::new("a byte is one ASCII character".to_owned(), from..self.at)),
                }
            }
            Some(_) => self.path(),
        }
    }

    fn path(&mut self) -> Result<Expr, Mistake> {
        let from = self.at;
        let mut path = Vec::new();
        loop {
            let name = word(self.rest());
            if name.is_empty() {
                let found = self.peek().map_or_else(|| "the end".to_owned(), |found| format!("{found:?}"));
                return Err(self.mistake(format!("an expression is expected, not {found}")));
            }
            self.skip(name.len());
            path.push(name.to_owned());
            if !self.rest().starts_with("::") || self.rest().starts_with("::<") {
                break;
            }
            self.skip(2);
        }
        let statement =
            ["let", "if", "match", "for", "while", "loop", "return", "fn", "use", "async", "move", "unsafe"];
        if let [only] = path.as_slice() {
            match only.as_str() {
                "true" => return self.expr(from, Kind::Bool(true)),
                "false" => return self.expr(from, Kind::Bool(false)),
                word if statement.contains(&word) => {
                    return Err(Mistake::new(
                        format!("`{word}` is not understood: one expression, please"),
                        from..self.at,
                    ));
                }
                _ => {}
            }
        }
        let constructs = path.last().is_some_and(|name| name.starts_with(char::is_uppercase));
        if constructs && self.rest().starts_with('(') {
            self.skip(1);
            let all = self.list(")")?;
            return self.expr(from, Kind::Construct(path, all));
        }
        self.expr(from, Kind::Path(path))
    }

    fn number(&mut self) -> Result<Expr, Mistake> {
        let from = self.at;
        let bad = |parser: &Self| Mistake::new("this is no number".to_owned(), from..parser.at.max(from));
        let radix = match self.rest().get(..2) {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            self.skip(2);
        }
        let mut digits = String::new();
        let mut float = false;
        while let Some(c) = self.peek() {
            let after = self.rest().get(1..).and_then(|rest| rest.chars().next());
            match c {
                '_' => {}
                c if c.is_digit(radix) => digits.push(c),
                // `1.max(2)` and `1..2` are not fractions, `1.` and `1.5` are.
                '.' if radix == 10 && !float && !after.is_some_and(|c| c == '.' || c == '_' || c.is_alphabetic()) => {
                    float = true;
                    digits.push('.');
                }
                'e' | 'E' if radix == 10 && after.is_some_and(|c| c.is_ascii_digit() || c == '-' || c == '+') => {
                    float = true;
                    digits.push('e');
                    self.skip(1);
                    if let Some(sign @ ('-' | '+')) = self.peek() {
                        digits.push(sign);
                        self.skip(1);
                    }
                    continue;
                }
                _ => break,
            }
            self.skip(1);
        }
        let suffix = word(self.rest());
        self.skip(suffix.len());
        let known = INTEGERS.iter().chain(&FLOATS).find(|name| **name == suffix).copied();
        if !suffix.is_empty() && known.is_none() {
            return Err(Mistake::new(format!("`{suffix}` is no type of a number"), from..self.at));
        }
        if float || known.is_some_and(|name| FLOATS.contains(&name) && radix == 10) {
            if known.is_some_and(|name| !FLOATS.contains(&name)) {
                return Err(bad(self));
            }
            let value = digits.parse().map_err(|_| bad(self))?;
            return self.expr(from, Kind::Float(value, known));
        }
        let value = u128::from_str_radix(&digits, radix).map_err(|_| bad(self))?;
        self.expr(from, Kind::Integer(value, known))
    }

    /// What stands before a quote.
    fn quoted(&mut self, quote: char) -> Result<String, Mistake> {
        let from = self.at;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.skip(c.len_utf8());
            if c == quote {
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let escaped = self.peek();
            self.skip(escaped.map_or(0, char::len_utf8));
            text.push(match escaped {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('0') => '\0',
                Some('x') => self.code(self.at..self.at.saturating_add(2))?,
                Some('u') if self.rest().starts_with('{') => {
                    let begin = self.at.saturating_add(1);
                    let end = self.rest().find('}').map_or(begin, |end| self.at.saturating_add(end));
                    let code = self.code(begin..end)?;
                    self.skip(1);
                    code
                }
                Some(same @ ('\\' | '\'' | '"')) => same,
                _ => return Err(self.mistake("this escape is unknown".to_owned())),
            });
        }
        Err(Mistake::new(format!("the closing {quote} is missing"), from..self.at))
    }

    /// A character by its code in hexadecimal.
    fn code(&mut self, at: Range<usize>) -> Result<char, Mistake> {
        let digits = self.text.get(at.clone()).unwrap_or("");
        self.at = at.end.min(self.text.len());
        // The end of what was asked for may be within a character.
        while !self.text.is_char_boundary(self.at) {
            self.at = self.at.saturating_sub(1);
        }
        let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| self.mistake("this is the code of no character".to_owned()))
    }

    fn raw(&mut self) -> Result<Expr, Mistake> {
        let from = self.at;
        self.skip(1);
        let hashes = self.rest().find(|c| c != '#').unwrap_or(0);
        self.skip(hashes);
        self.expect("\"", "to begin a raw string")?;
        let close = format!("\"{}", "#".repeat(hashes));
        let Some(end) = self.rest().find(&close) else {
            return Err(Mistake::new("the end of the raw string is missing".to_owned(), from..self.at));
        };
        let text = self.rest().get(..end).unwrap_or("").to_owned();
        self.skip(end.saturating_add(close.len()));
        self.expr(from, Kind::Text(text))
    }
}

/// The name or keyword that a text begins with; empty if it begins with none.
pub(crate) fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let word = text.get(..end).unwrap_or("");
    if word.starts_with(|c: char| c.is_ascii_digit()) { "" } else { word }
}
