//! The prompt: evaluates an expression of Rust in a frame, by reading.
//!
//! What methods of the standard library would answer is worked out here, from memory; nothing of the process is called, and
//! nothing in it can be changed.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod complete;
mod item;
mod methods;
mod parse;

pub use complete::{Candidate, Completion};
pub(crate) use item::{Item, Number};
pub(crate) use parse::word;

use crate::frames::Frame;
use crate::layout::{Collection, Named, Shape, Shown, Text};
use crate::reader::{Fault, Place};
use crate::types::short;
use crate::values::{Child, Inspector, Line, MASK, Show, Value};
use parse::{Binary, Expr, Kind, Pattern, Unary};
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

/// What is wrong with an expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// In words: what was expected, what was found, which names there are.
    pub message: String,
    /// Which bytes of the text it is about.
    pub at: Range<usize>,
}

impl Mistake {
    pub(crate) fn new(message: String, at: Range<usize>) -> Self {
        Self { message, at }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// Reads an expression without evaluating it.
///
/// # Errors
///
/// [`Mistake`], as [`Inspector::evaluate`] has for what is no expression.
///
/// ```
/// assert!(purlin_debugger::check("items[0].price * 2.0").is_ok());
/// assert_eq!(purlin_debugger::check("a = 1").unwrap_err().message, "the prompt only reads: it cannot assign");
/// ```
pub fn check(text: &str) -> Result<(), Mistake> {
    parse::parse(text).map(drop)
}

impl Inspector<'_> {
    /// The value of an expression in a frame.
    ///
    /// Understood are paths of fields, indices and ranges, the operators, `as`, literals, closures as arguments, constructors
    /// like `Some(1)` to compare with, and the methods of the standard library's types that only look: `len`, `get`,
    /// `contains`, `iter`, `map`, `sum`, `unwrap` and some hundred more. References, smart pointers, cells and locks are
    /// looked through. What an expression names is shown though its name may say that it is a secret; what is in it is not,
    /// nor what has the type of one.
    ///
    /// # Errors
    ///
    /// [`Mistake`]: it is no expression, a name is not there, an operation would panic or does not fit, memory is unreadable.
    pub fn evaluate(&self, frame: &Frame, text: &str) -> Result<Value, Mistake> {
        self.expand_expression(frame, text, &[], 0)
    }

    /// Of the value of an expression what a path leads to, with its children from the one of this number on: as
    /// [`Inspector::expand`] does for variables.
    ///
    /// # Errors
    ///
    /// As of [`Inspector::evaluate`]; and that nothing is at this path.
    pub fn expand_expression(&self, frame: &Frame, text: &str, path: &[u64], from: u64) -> Result<Value, Mistake> {
        let expr = parse::parse(text)?;
        let show = self.show();
        let evaluator = Evaluator::new(&show, frame);
        let mut item = evaluator.evaluate(&expr, &mut Vec::new())?;
        let mut taken = Vec::new();
        let mut steps = path;
        let nothing = || Mistake::new("nothing is at this path".to_owned(), 0..0);
        loop {
            if let Item::Place(place) = item {
                if taken.is_empty() && steps.is_empty() && from == 0 {
                    return Ok(show.value(
                        String::new(),
                        &place,
                        Vec::new(),
                        self.bounds.depth.max(1),
                        &mut Vec::new(),
                    ));
                }
                return show.descend(String::new(), place, taken, steps, from).ok_or_else(nothing);
            }
            let Some((&step, rest)) = steps.split_first() else { break };
            taken.push(step);
            steps = rest;
            if step == 1 && evaluator.secret_pair(&item) {
                return Err(nothing());
            }
            let children = item.into_children();
            let child = usize::try_from(step).ok().and_then(|step| children.into_iter().nth(step));
            item = child.ok_or_else(nothing)?.1;
        }
        Ok(evaluator.render(String::new(), &item, taken, self.bounds.depth.max(1), from))
    }
}

/// The names that closures gave to their arguments.
type Names = Vec<(String, Item)>;
type Answer = Result<Item, Mistake>;

/// More items than this are not made of one expression, and no longer text.
const MOST_ITEMS: usize = 100_000;
pub(crate) const MOST_TEXT: usize = 1 << 20;

pub(crate) struct Evaluator<'a> {
    pub(crate) show: &'a Show<'a>,
    frame: &'a Frame,
    variables: Vec<(String, Result<Place, Fault>)>,
    made: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(show: &'a Show<'a>, frame: &'a Frame) -> Self {
        let (variables, _) = show.reader.variables(frame);
        let variables = variables.into_iter().map(|variable| (variable.name, variable.place)).collect();
        Self { show, frame, variables, made: Cell::new(0) }
    }

    pub(crate) fn evaluate(&self, expr: &Expr, names: &mut Names) -> Answer {
        let fail = |message: String| Mistake::new(message, expr.at.clone());
        self.show.reader.in_time().map_err(|fault| fail(fault.to_string()))?;
        match &expr.kind {
            Kind::Integer(value, of) => Item::integer(false, *value, *of).map_err(fail),
            Kind::Float(value, of) => Ok(Item::float(*value, *of == Some("f32"))),
            Kind::Bool(value) => Ok(Item::Bool(*value)),
            Kind::Char(value) => Ok(Item::Char(*value)),
            Kind::Text(value) => Ok(Item::Text(value.clone())),
            Kind::Path(path) => self.path(path, names).map_err(fail),
            Kind::Construct(path, parts) => {
                let name = path.last().cloned().unwrap_or_default();
                let parts = self.all(parts, names)?;
                Ok(Item::Variant(name, parts))
            }
            Kind::Tuple(parts) if parts.is_empty() => Ok(Item::Unit),
            Kind::Tuple(parts) => Ok(Item::Tuple(self.all(parts, names)?)),
            Kind::List(parts) => Ok(Item::List(self.all(parts, names)?)),
            Kind::Range(begin, end, inclusive) => {
                let begin = begin.as_ref().map(|begin| self.index(begin, names)).transpose()?;
                let end = end.as_ref().map(|end| self.index(end, names)).transpose()?;
                let end = if *inclusive { end.map(|end| end.saturating_add(1)) } else { end };
                Ok(Item::Range(begin, end))
            }
            Kind::Closure(..) => Err(fail("a closure can only be an argument".to_owned())),
            Kind::Field(of, name) => {
                let of = self.evaluate(of, names)?;
                self.field(of, name).map_err(fail)
            }
            Kind::Index(of, index) => {
                let of = self.evaluate(of, names)?;
                let index = self.evaluate(index, names)?;
                self.at(of, index).map_err(fail)
            }
            Kind::Unary(operator, of) => {
                let of = self.evaluate(of, names)?;
                self.unary(*operator, of).map_err(fail)
            }
            Kind::Binary(operator @ (Binary::And | Binary::Or), left, right) => {
                let left = self.truth(left, names)?;
                // The other side is not looked at, as in Rust: `i < v.len() && v[i] > 0`.
                if left == (*operator == Binary::Or) {
                    return Ok(Item::Bool(left));
                }
                Ok(Item::Bool(self.truth(right, names)?))
            }
            Kind::Binary(operator, left, right) => {
                let left = self.evaluate(left, names)?;
                let right = self.evaluate(right, names)?;
                self.binary(*operator, left, right).map_err(fail)
            }
            Kind::Cast(of, to) => {
                let of = self.evaluate(of, names)?;
                self.cast(of, to).map_err(fail)
            }
            Kind::Method(of, name, arguments) => {
                let receiver = self.evaluate(of, names)?;
                self.method(receiver, name, arguments, names, &expr.at)
            }
        }
    }

    fn all(&self, parts: &[Expr], names: &mut Names) -> Result<Vec<Item>, Mistake> {
        parts.iter().map(|part| self.evaluate(part, names)).collect()
    }

    fn truth(&self, expr: &Expr, names: &mut Names) -> Result<bool, Mistake> {
        let item = self.evaluate(expr, names)?;
        match self.load(&item).map_err(|message| Mistake::new(message, expr.at.clone()))? {
            Item::Bool(value) => Ok(value),
            other => Err(Mistake::new(format!("a bool is expected, not {}", self.describe(&other)), expr.at.clone())),
        }
    }

    pub(crate) fn index(&self, expr: &Expr, names: &mut Names) -> Result<u64, Mistake> {
        let item = self.evaluate(expr, names)?;
        self.count(&item).map_err(|message| Mistake::new(message, expr.at.clone()))
    }

    /// A number that counts something.
    pub(crate) fn count(&self, item: &Item) -> Result<u64, String> {
        match self.load(item)? {
            Item::Number(Number::Integer { negative: false, magnitude, .. }) => {
                u64::try_from(magnitude).map_err(|_| format!("{magnitude} is too large to count with"))
            }
            other => Err(format!("a number that is not negative is expected, not {}", self.describe(&other))),
        }
    }

    /// The closure's answer for these arguments.
    pub(crate) fn call(&self, closure: &Expr, arguments: &[Item], names: &mut Names) -> Answer {
        let fail = |message: &str| Mistake::new(message.to_owned(), closure.at.clone());
        let Kind::Closure(patterns, body) = &closure.kind else {
            // `map(String::len)` would be a call.
            return Err(fail("a closure is expected, like |x| x + 1"));
        };
        if patterns.len() != arguments.len() {
            return Err(Mistake::new(
                format!("the closure is given {}, not {}", arguments.len(), patterns.len()),
                closure.at.clone(),
            ));
        }
        let before = names.len();
        for (pattern, argument) in patterns.iter().zip(arguments) {
            if let Err(message) = self.bind(pattern, argument.clone(), names) {
                names.truncate(before);
                return Err(fail(&message));
            }
        }
        let answer = self.evaluate(body, names);
        names.truncate(before);
        answer
    }

    fn bind(&self, pattern: &Pattern, item: Item, names: &mut Names) -> Result<(), String> {
        match pattern {
            Pattern::Any => {}
            Pattern::Name(name) => names.push((name.clone(), item)),
            Pattern::Tuple(patterns) => {
                let parts: Vec<Item> = match self.view(&item)? {
                    View::Items(Item::Tuple(parts)) => parts,
                    View::Shape(_, Shape::Fields(named)) => {
                        named.fields.into_iter().map(|(_, place)| Item::Place(place)).collect()
                    }
                    _ => return Err("only a tuple can be taken apart".to_owned()),
                };
                if parts.len() != patterns.len() {
                    return Err(format!("the tuple has {} parts, not {}", parts.len(), patterns.len()));
                }
                for (pattern, part) in patterns.iter().zip(parts) {
                    self.bind(pattern, part, names)?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, path: &[String], names: &Names) -> Result<Item, String> {
        if let [name] = path {
            if let Some((_, item)) = names.iter().rev().find(|(known, _)| known == name) {
                return Ok(item.clone());
            }
            if let Some((_, place)) = self.variables.iter().find(|(known, _)| known == name) {
                return match place {
                    Ok(place) => Ok(Item::Place(place.clone())),
                    Err(fault) => Err(format!("`{name}` cannot be read: {fault}")),
                };
            }
        }
        let last = path.last().map_or("", String::as_str);
        if let [.., of, _] = path
            && let Some(constant) = Item::constant(of, last)
        {
            return Ok(constant);
        }
        if let Some((_, place)) = self.show.reader.statics(self.frame, Some(last)).into_iter().next() {
            return Ok(Item::Place(place));
        }
        // `None`, `Kind::A`: something to compare with.
        if last.starts_with(char::is_uppercase) && (path.len() > 1 || last == "None") {
            return Ok(Item::Variant(last.to_owned(), Vec::new()));
        }
        let known = names.iter().map(|(name, _)| name).chain(self.variables.iter().map(|(name, _)| name));
        Err(missing("variable", last, known.map(String::as_str)))
    }

    fn field(&self, of: Item, name: &str) -> Result<Item, String> {
        let mut known = Vec::new();
        match of {
            Item::Place(mut place) => {
                // A struct around another is looked at before what is inside it.
                for _ in 0..32 {
                    match self.show.reader.shape(&place).map_err(|fault| fault.to_string())? {
                        Shape::Inner(inner, _) => place = inner,
                        Shape::Fields(Named { fields, .. }) => {
                            match fields.iter().find(|(field, _)| field == name) {
                                Some((_, place)) => return Ok(Item::Place(place.clone())),
                                None => known.extend(fields.into_iter().map(|(field, _)| field)),
                            }
                            break;
                        }
                        _ => break,
                    }
                }
                if known.is_empty() {
                    return Err(format!("a {} has no field `{name}`", short(&place.of.name)));
                }
            }
            Item::Tuple(parts) => {
                let index = name.parse::<usize>().ok();
                known.extend((0..parts.len()).map(|index| index.to_string()));
                if let Some(part) = index.and_then(|index| parts.into_iter().nth(index)) {
                    return Ok(part);
                }
            }
            other => return Err(format!("{} has no fields", self.describe(&other))),
        }
        Err(missing("field", name, known.iter().map(String::as_str)))
    }

    fn at(&self, of: Item, index: Item) -> Result<Item, String> {
        if let Item::Range(begin, end) = index {
            return self.part(of, begin, end);
        }
        match self.view(&of)? {
            View::Shape(_, Shape::Collection(collection)) if collection.kind == Shown::Map => {
                match self.lookup(&collection, &index)? {
                    Some(value) => Ok(value),
                    None => Err(format!("would panic: there is no key {}", self.describe(&index))),
                }
            }
            View::Shape(_, Shape::Collection(collection)) if collection.is_row() => {
                let index = self.count(&index)?;
                self.element(&collection, index)?
                    .ok_or_else(|| format!("would panic: index {index} out of bounds of length {}", collection.length))
            }
            View::Items(Item::List(items)) => {
                let index = self.count(&index)?;
                let length = items.len();
                let item = usize::try_from(index).ok().and_then(|index| items.into_iter().nth(index));
                item.ok_or_else(|| format!("would panic: index {index} out of bounds of length {length}"))
            }
            View::Items(Item::Text(_)) | View::Shape(_, Shape::Text(_)) => {
                Err("text is indexed by a range, like [0..3]".to_owned())
            }
            _ => Err(format!("{} cannot be indexed", self.describe(&of))),
        }
    }

    /// `[begin..end]` of text or a list.
    pub(crate) fn part(&self, of: Item, begin: Option<u64>, end: Option<u64>) -> Result<Item, String> {
        let check = |length: u64| {
            let (begin, end) = (begin.unwrap_or(0), end.unwrap_or(length));
            if begin > end {
                return Err(format!("would panic: the range begins at {begin} and ends at {end}"));
            }
            if end > length {
                return Err(format!("would panic: range end {end} out of bounds of length {length}"));
            }
            Ok((begin, end))
        };
        match self.view(&of)? {
            View::Shape(_, Shape::Collection(collection)) if collection.is_row() => {
                let (begin, end) = check(collection.length)?;
                match collection.part(begin, end) {
                    Some(part) => Ok(Item::Part(part)),
                    None => Ok(Item::List(self.some(&collection, begin, end)?)),
                }
            }
            View::Items(Item::List(items)) => {
                let (begin, end) = check(u64::try_from(items.len()).unwrap_or(u64::MAX))?;
                let items = (0..).zip(items).filter(|(index, _)| (begin..end).contains(index));
                Ok(Item::List(items.map(|(_, item)| item).collect()))
            }
            _ => match self.load(&of)? {
                Item::Text(text) => {
                    let (begin, end) = check(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
                    let range =
                        usize::try_from(begin).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
                    let part = text.get(range).ok_or("would panic: this is within a character")?;
                    Ok(Item::Text(part.to_owned()))
                }
                other => Err(format!("{} has no parts", self.describe(&other))),
            },
        }
    }

    /// One element of a row.
    pub(crate) fn element(&self, of: &Collection, index: u64) -> Result<Option<Item>, String> {
        if index >= of.length {
            return Ok(None);
        }
        let (elements, fault) = self.show.reader.elements(of, index, 1);
        match (elements.into_iter().next(), fault) {
            (Some(element), _) => Ok(Some(Item::Place(element.value))),
            (None, fault) => Err(fault.map_or_else(|| "it is not there".to_owned(), |fault| fault.to_string())),
        }
    }

    /// Elements of a collection; entries of a map are tuples.
    pub(crate) fn some(&self, of: &Collection, begin: u64, end: u64) -> Result<Vec<Item>, String> {
        let most = usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX);
        self.make(most)?;
        let (elements, fault) = self.show.reader.elements(of, begin, most);
        match fault {
            Some(fault) => Err(fault.to_string()),
            None => Ok(elements
                .into_iter()
                .map(|element| match element.key {
                    Some(key) => Item::Tuple(vec![Item::Place(key), Item::Place(element.value)]),
                    None => Item::Place(element.value),
                })
                .collect()),
        }
    }

    /// Notes that so many items are made.
    pub(crate) fn make(&self, items: usize) -> Result<(), String> {
        let made = self.made.get().saturating_add(items);
        self.made.set(made);
        if made > MOST_ITEMS {
            return Err(format!(
                "more than {MOST_ITEMS} elements: look at a part, like [..1000] or .iter().take(1000)"
            ));
        }
        Ok(())
    }

    /// The value of a key in a map.
    pub(crate) fn lookup(&self, map: &Collection, key: &Item) -> Result<Option<Item>, String> {
        for entry in self.some(map, 0, map.length)? {
            if let Item::Tuple(parts) = entry
                && let [known, value] = parts.as_slice()
                && self.equal(known, key, 0)?
            {
                return Ok(Some(value.clone()));
            }
        }
        Ok(None)
    }

    fn unary(&self, operator: Unary, of: Item) -> Result<Item, String> {
        match operator {
            Unary::Reference => Ok(of),
            Unary::Dereference => match of {
                Item::Place(place) => match self.show.reader.shape(&place).map_err(|fault| fault.to_string())? {
                    Shape::Inner(inner, _) | Shape::Raw(_, Some(inner)) => Ok(Item::Place(inner)),
                    Shape::Raw(address, None) => Err(format!("{address:#x} leads nowhere")),
                    _ => Ok(Item::Place(place)),
                },
                other => Ok(other),
            },
            Unary::Negate | Unary::Not => {
                let of = self.load(&of)?;
                match (operator, of) {
                    (Unary::Negate, Item::Number(number)) => Ok(Item::Number(number.negate()?)),
                    (_, Item::Bool(value)) if operator == Unary::Not => Ok(Item::Bool(!value)),
                    (_, Item::Number(number)) => Ok(Item::Number(number.complement()?)),
                    (_, other) => Err(format!("{} has no such operator", self.describe(&other))),
                }
            }
        }
    }

    fn binary(&self, operator: Binary, left: Item, right: Item) -> Result<Item, String> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = |wanted: &[std::cmp::Ordering]| {
            self.compare(&left, &right).map(|order| Item::Bool(order.is_some_and(|order| wanted.contains(&order))))
        };
        match operator {
            Binary::Equal => return Ok(Item::Bool(self.equal(&left, &right, 0)?)),
            Binary::Unequal => return Ok(Item::Bool(!self.equal(&left, &right, 0)?)),
            Binary::Less => return order(&[Less]),
            Binary::LessOrEqual => return order(&[Less, Equal]),
            Binary::Greater => return order(&[Greater]),
            Binary::GreaterOrEqual => return order(&[Greater, Equal]),
            _ => {}
        }
        match (self.load(&left)?, self.load(&right)?) {
            (Item::Number(left), Item::Number(right)) => Ok(Item::Number(left.apply(operator, right)?)),
            (Item::Text(left), Item::Text(right)) if operator == Binary::Add => {
                if left.len().saturating_add(right.len()) > MOST_TEXT {
                    return Err("this text gets too long".to_owned());
                }
                Ok(Item::Text(left + &right))
            }
            (Item::Bool(left), Item::Bool(right)) => match operator {
                Binary::BitAnd => Ok(Item::Bool(left & right)),
                Binary::BitOr => Ok(Item::Bool(left | right)),
                Binary::BitXor => Ok(Item::Bool(left ^ right)),
                _ => Err("bools have no such operator".to_owned()),
            },
            (left, right) => Err(format!("no such operator of {} and {}", self.describe(&left), self.describe(&right))),
        }
    }

    fn cast(&self, of: Item, to: &str) -> Result<Item, String> {
        let loaded = match self.view(&of)? {
            // A variant without data is cast to its number.
            View::Shape(Some(place), Shape::Fields(named)) if named.variant && named.fields.is_empty() => {
                let bits = self.show.reader.bits(&place).map_err(|fault| fault.to_string())?;
                Item::integer(false, bits, None)?
            }
            View::Shape(_, Shape::Raw(address, _)) => Item::integer(false, address.into(), Some("usize"))?,
            _ => self.load(&of)?,
        };
        match loaded {
            Item::Number(number) => number.cast(to),
            Item::Bool(value) => Item::integer(false, value.into(), None)?.into_number()?.cast(to),
            Item::Char(value) if to != "char" => {
                Item::integer(false, u32::from(value).into(), None)?.into_number()?.cast(to)
            }
            other => Err(format!("{} cannot be cast to {to}", self.describe(&other))),
        }
    }

    /// What an item is when references and the like are looked through.
    pub(crate) fn view(&self, item: &Item) -> Result<View, String> {
        match item {
            Item::Place(place) => {
                let (place, shape) = self.show.inside(place).map_err(|fault| fault.to_string())?;
                Ok(View::Shape(Some(place), shape))
            }
            Item::Part(part) => Ok(View::Shape(None, Shape::Collection(part.clone()))),
            other => Ok(View::Items(other.clone())),
        }
    }

    /// A number, a bool, a char, a text as a value of its own; anything else as it is.
    pub(crate) fn load(&self, item: &Item) -> Result<Item, String> {
        let Item::Place(_) = item else { return Ok(item.clone()) };
        let View::Shape(Some(place), shape) = self.view(item)? else { return Ok(item.clone()) };
        Ok(match shape {
            Shape::Unit => Item::Unit,
            Shape::Unsigned(value) => {
                Item::integer(false, value, parse::INTEGERS.iter().find(|n| **n == place.of.name).copied())?
            }
            Shape::Signed(value) => {
                let of = parse::INTEGERS.iter().find(|name| **name == place.of.name).copied();
                Item::integer(value < 0, value.unsigned_abs(), of)?
            }
            Shape::Float(value, size) => Item::float(value, size == 4),
            Shape::Bool(value) => Item::Bool(value),
            Shape::Char(value) => Item::Char(value),
            Shape::Text(text) => Item::Text(self.text(&text)?),
            _ => Item::Place(place),
        })
    }

    fn text(&self, text: &Text) -> Result<String, String> {
        const MOST: usize = 1 << 16;
        if text.length > 1 << 16 {
            return Err(format!("a text of {} bytes is too long to evaluate", text.length));
        }
        Ok(self.show.text(text, MOST).map_err(|fault| fault.to_string())?.0)
    }

    /// A few words for a message.
    pub(crate) fn describe(&self, item: &Item) -> String {
        match item {
            Item::Place(place) => {
                let (place, _) = match self.show.inside(place) {
                    Ok(inside) => inside,
                    Err(_) => return format!("a {}", short(&place.of.name)),
                };
                format!("a {}", short(&place.of.name))
            }
            Item::Part(_) | Item::List(_) => "a list".to_owned(),
            Item::Tuple(_) => "a tuple".to_owned(),
            Item::Unit => "()".to_owned(),
            Item::Variant(name, _) => name.clone(),
            Item::Range(..) => "a range".to_owned(),
            other => {
                let mut line = Line::new(40);
                self.write(other, &mut line, 1);
                line.text
            }
        }
    }

    pub(crate) fn equal(&self, left: &Item, right: &Item, depth: u8) -> Result<bool, String> {
        let below = depth.saturating_add(1);
        if depth > 16 {
            return Err("the values are nested too deeply to compare".to_owned());
        }
        self.show.reader.in_time().map_err(|fault| fault.to_string())?;
        let (left, right) = (self.load(left)?, self.load(right)?);
        let (left, right) = match (&left, &right) {
            (Item::Number(left), Item::Number(right)) => {
                return Ok(left.compare(right)? == Some(std::cmp::Ordering::Equal));
            }
            (Item::Bool(left), Item::Bool(right)) => return Ok(left == right),
            (Item::Char(left), Item::Char(right)) => return Ok(left == right),
            (Item::Text(left), Item::Text(right)) => return Ok(left == right),
            (Item::Unit, Item::Unit) => return Ok(true),
            _ => (self.parts(&left)?, self.parts(&right)?),
        };
        match (left, right) {
            (Some((left_name, left)), Some((right_name, right))) => {
                if left_name != right_name || left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(&right) {
                    if !self.equal(left, right, below)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Err("these cannot be compared".to_owned()),
        }
    }

    /// What a value consists of, and the name of the variant: to compare it piece by piece.
    fn parts(&self, item: &Item) -> Result<Option<(String, Vec<Item>)>, String> {
        Ok(match self.view(item)? {
            View::Shape(_, Shape::Fields(named)) => {
                let name = if named.variant { named.name } else { String::new() };
                Some((name, named.fields.into_iter().map(|(_, place)| Item::Place(place)).collect()))
            }
            View::Shape(_, Shape::Collection(collection)) if collection.is_row() => {
                Some((String::new(), self.some(&collection, 0, collection.length)?))
            }
            View::Shape(_, Shape::Raw(address, _)) => {
                Some((String::new(), vec![Item::integer(false, address.into(), None)?]))
            }
            View::Shape(_, Shape::Spelt(text)) => Some((String::new(), vec![Item::Text(text)])),
            View::Items(Item::List(items) | Item::Tuple(items)) => Some((String::new(), items)),
            View::Items(Item::Variant(name, parts)) => Some((name, parts)),
            _ => None,
        })
    }

    pub(crate) fn compare(&self, left: &Item, right: &Item) -> Result<Option<std::cmp::Ordering>, String> {
        match (self.load(left)?, self.load(right)?) {
            (Item::Number(left), Item::Number(right)) => left.compare(&right),
            (Item::Bool(left), Item::Bool(right)) => Ok(Some(left.cmp(&right))),
            (Item::Char(left), Item::Char(right)) => Ok(Some(left.cmp(&right))),
            (Item::Text(left), Item::Text(right)) => Ok(Some(left.cmp(&right))),
            (left, right) => Err(format!("{} and {} have no order", self.describe(&left), self.describe(&right))),
        }
    }

    /// Writes the text of an item.
    pub(crate) fn write(&self, item: &Item, line: &mut Line, depth: usize) {
        let parts = |line: &mut Line, parts: &[Item]| {
            let secret = self.secret_pair(item);
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    line.push(", ");
                }
                if secret && index == 1 {
                    line.push(MASK);
                    continue;
                }
                match depth.checked_sub(1) {
                    Some(depth) if line.has_room() => self.write(part, line, depth),
                    _ => return line.push("…"),
                }
            }
        };
        match item {
            Item::Place(place) => self.show.write(place, line, depth, &mut Vec::new()),
            Item::Part(part) => self.show.write_collection(part, line, depth, &mut Vec::new()),
            Item::Number(number) => line.push(&number.to_string()),
            Item::Bool(value) => line.push(if *value { "true" } else { "false" }),
            Item::Char(value) => line.push(&format!("{value:?}")),
            Item::Text(value) => {
                let most = self.show.reader.bounds.text_bytes;
                let cut = (0..=most.min(value.len())).rev().find(|&at| value.is_char_boundary(at)).unwrap_or(0);
                line.whole(&format!("{:?}", value.get(..cut).unwrap_or("")));
                if cut < value.len() {
                    line.whole(&format!("… ({} bytes)", value.len()));
                }
            }
            Item::Unit => line.push("()"),
            Item::Range(begin, end) => {
                let end_of = |end: &Option<u64>| end.map_or_else(String::new, |end| end.to_string());
                line.push(&format!("{}..{}", end_of(begin), end_of(end)));
            }
            Item::List(items) => {
                line.push("[");
                parts(line, items);
                line.push("]");
            }
            Item::Tuple(items) => {
                line.push("(");
                parts(line, items);
                line.push(")");
            }
            Item::Variant(name, items) => {
                line.push(name);
                if !items.is_empty() {
                    line.push("(");
                    parts(line, items);
                    line.push(")");
                }
            }
        }
    }

    /// The entry of a map, as iterating gives it, whose key says that it is a secret.
    fn secret_pair(&self, item: &Item) -> bool {
        match item {
            Item::Tuple(parts) => match parts.as_slice() {
                [Item::Place(key), _] => self.show.secret_key(key),
                _ => false,
            },
            _ => false,
        }
    }

    /// An item as a page shows it.
    fn render(&self, name: String, item: &Item, path: Vec<u64>, depth: usize, from: u64) -> Value {
        if let Item::Place(place) = item {
            return self.show.value(name, place, path, depth, &mut Vec::new());
        }
        let mut line = Line::new(self.show.reader.bounds.line);
        self.write(item, &mut line, 6);
        let type_name = item.type_name();
        let mut value = Value { name, type_name, text: line.text, note: line.note, path, ..Value::default() };
        let most = self.show.reader.bounds.elements;
        let children = match item {
            Item::Part(part) => {
                value.count = part.length;
                let shape = Shape::Collection(part.clone());
                let (children, fault) = self.show.children(&shape, from, most);
                value.note = value.note.or(fault.map(|fault| fault.to_string()));
                let child = |child| match child {
                    // Of a row, nothing is a secret by its name.
                    Child::One(place) | Child::Hidden(place) => Item::Place(place),
                    Child::Pair(key, value) => Item::Tuple(vec![Item::Place(key), Item::Place(value)]),
                };
                children.into_iter().map(|(name, found)| (name, child(found))).collect()
            }
            other => {
                let children = other.clone().into_children();
                value.count = u64::try_from(children.len()).unwrap_or(u64::MAX);
                let skip = usize::try_from(from).unwrap_or(usize::MAX);
                children.into_iter().skip(skip).take(most).collect::<Vec<_>>()
            }
        };
        if let Some(depth) = depth.checked_sub(1) {
            let secret = self.secret_pair(item);
            for (index, (name, child)) in (from..).zip(children) {
                let mut path = value.path.clone();
                path.push(index);
                if secret && index == 1 {
                    let (type_name, text) = (child.type_name(), MASK.to_owned());
                    value.children.push(Value { name, type_name, text, masked: true, path, ..Value::default() });
                    continue;
                }
                value.children.push(self.render(name, &child, path, depth, 0));
            }
        }
        value
    }
}

/// An item, looked into.
pub(crate) enum View {
    /// Something of the process: where it is, unless it is a part of something, and what it is.
    Shape(Option<Place>, Shape),
    /// Something that was worked out here.
    Items(Item),
}

/// A message that a name is not there, with the nearest one and some others.
pub(crate) fn missing<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    let nearest = known
        .iter()
        .map(|known| (distance(known, name), *known))
        .filter(|(distance, known)| *distance <= 2.min(known.len().saturating_sub(1)) || known.starts_with(name))
        .min();
    let mut message = format!("no {what} `{name}`");
    if let Some((_, nearest)) = nearest.filter(|_| !name.is_empty()) {
        message.push_str(&format!("; is it `{nearest}`?"));
    }
    match known.len() {
        0 => {}
        count => {
            let some: Vec<_> = known.iter().copied().take(20).collect();
            let more = if count > 20 { ", …" } else { "" };
            message.push_str(&format!(" (there are: {}{more})", some.join(", ")));
        }
    }
    message
}

/// How many letters are to be added, left out or changed to get from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().take(64).enumerate() {
        let mut corner = line;
        let mut left = line.saturating_add(1);
        let mut next = vec![left];
        for (b, &above) in to.iter().zip(row.iter().skip(1)) {
            let changed = corner.saturating_add(usize::from(a != *b));
            left = changed.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
            corner = above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, missing};

    #[test]
    fn names_are_near_if_few_letters_differ() {
        for (from, to, expected) in
            [("items", "itms", 1), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("a", "a", 0)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_missing_name_is_answered_with_those_that_are_there() {
        assert_eq!(
            missing("field", "nme", ["id", "name"].into_iter()),
            "no field `nme`; is it `name`? (there are: id, name)"
        );
        assert_eq!(missing("field", "x", [].into_iter()), "no field `x`");
        assert_eq!(missing("field", "frob", ["id"].into_iter()), "no field `frob` (there are: id)");
    }
}
