//! The variables that are in scope where a frame stopped, and where they are.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::frames::{Frame, Scope, declared_in, origin, walk};
use crate::image::{Bytes, Entry, Lack};
use crate::reader::{At, Fault, Place, Reader};
use crate::types::{Kind, Type, number};
use gimli::{AttributeValue, EvaluationResult, Location, constants as dw};
use std::sync::Arc;

/// A variable of a frame.
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) argument: bool,
    pub(crate) of: Result<Arc<Type>, Fault>,
    pub(crate) place: Result<Place, Fault>,
    /// Of its declaration.
    line: Option<u64>,
}

/// What the compiler names for itself.
fn hidden(name: &str) -> bool {
    name.is_empty() || name.starts_with("__") || matches!(name, "_task_context" | "residual")
}

impl Reader<'_> {
    /// Arguments first, then as the source declares them; of those that share a name the one that the source means there.
    pub(crate) fn variables(&self, frame: &Frame) -> (Vec<Variable>, Option<Lack>) {
        let Some(scope) = &frame.scope else { return (Vec::new(), frame.lack.clone()) };
        let image = self.image;
        let mut found: Vec<(Entry, isize)> = Vec::new();
        walk(image, &scope.unit, scope.entry, scope.address, |entry, depth| {
            if entry.tag() != dw::DW_TAG_inlined_subroutine {
                found.push((entry.clone(), depth));
            }
            false
        });
        let base = self.frame_base(scope);
        // A `for` keeps its iterator as `iter`, around what it binds on the same line; the site may have one of its own.
        let line = |entry: &Entry| number(entry, dw::DW_AT_decl_line);
        let lines: Vec<_> = found.iter().map(|(entry, depth)| (line(entry), *depth)).collect();
        let of_a_loop =
            |entry: &Entry, depth: isize| lines.iter().any(|&(other, below)| other == line(entry) && below > depth);
        let resumed = found.iter().any(|(entry, _)| self.is_resumed(scope, entry, &base).unwrap_or(false));
        let mut variables: Vec<(Variable, isize, bool)> = Vec::new();
        let mut unlocated = 0_usize;
        for (entry, depth) in found {
            let (unit, described) = origin(image, &scope.unit, &entry);
            let Some(name) = unit.name(image, &described) else { continue };
            if hidden(&name)
                || (name == "iter" && of_a_loop(&entry, depth))
                || declared_in(image, &unit, &described).is_some_and(|file| !frame.shows(&file))
            {
                continue;
            }
            let of = described.attr_value(dw::DW_AT_type).and_then(|value| unit.reference(value));
            let of = of.ok_or(Fault::Absent("its type is not described")).and_then(|of| self.type_at(of));
            let place = of.clone().and_then(|of| self.locate(scope, &entry, of, &base));
            let location = entry.attr_value(dw::DW_AT_location);
            if !matches!(location, Some(AttributeValue::Exprloc(_))) && of.as_ref().is_ok_and(|of| of.size > 0) {
                unlocated = unlocated.saturating_add(1);
            }
            let argument = entry.tag() == dw::DW_TAG_formal_parameter;
            let line = line(&described);
            let variable = Variable { name: name.into_owned(), argument, of, place, line };
            let kept = is_in_state(scope, &entry);
            // The innermost is meant. An `async fn` has its arguments twice: as they came, and as they are after that. What is not
            // needed after an `.await` is not kept across it, and the slot on the stack has not been written to since.
            match variables.iter_mut().position(|(other, ..)| other.name == variable.name) {
                Some(index) => {
                    let (other, outer, came) = variables.remove(index);
                    let lost = resumed && came && !kept && other.line == variable.line && other.place.is_ok();
                    if lost {
                        // In the place of the other, so that they are in the order of the source.
                        variables.push((other, depth, came));
                    } else if outer <= depth || other.place.is_err() {
                        let argument = other.argument || variable.argument;
                        variables.push((Variable { argument, ..variable }, depth, kept));
                    } else {
                        variables.insert(index, (other, outer, came));
                    }
                }
                None => variables.push((variable, depth, kept)),
            }
        }
        let optimised = unlocated > 0 && unlocated.saturating_mul(2) >= variables.len();
        let lack = frame.lack.clone().or(optimised.then_some(Lack::Optimised));
        let mut variables: Vec<_> = variables.into_iter().map(|(variable, ..)| variable).collect();
        variables.sort_by_key(|variable| !variable.argument);
        (variables, lack)
    }

    /// Whether this is what an `async` function is polled by, and it has waited before: `Pin<&mut {async_fn_env#0}>`.
    fn is_resumed(&self, scope: &Scope, entry: &Entry, base: &Result<u64, Fault>) -> Option<bool> {
        if entry.tag() != dw::DW_TAG_formal_parameter || entry.attr_value(dw::DW_AT_name).is_some() {
            return None;
        }
        let pin = self.type_at(scope.unit.reference(entry.attr_value(dw::DW_AT_type)?)?).ok()?;
        let [pointer] = pin.fields()?.members.as_slice() else { return None };
        let Kind::Pointer(state) = self.type_at(pointer.of).ok()?.kind else { return None };
        let state = self.type_at(state).ok()?;
        let Kind::Enum { tag: Some(tag), .. } = &state.kind else { return None };
        let At::Memory(place) = self.locate(scope, entry, pin, base).ok()?.at else { return None };
        let (mut address, mut number) = ([0; 8], [0; 8]);
        self.read(place, &mut address).ok()?;
        let size = usize::try_from(self.type_at(tag.of).ok()?.size).ok()?;
        self.read(u64::from_ne_bytes(address).checked_add(tag.offset)?, number.get_mut(..size)?).ok()?;
        // 0 is not started, 1 and 2 are over; it stays what it was while the function runs.
        Some(u64::from_le_bytes(number) > 2)
    }

    /// The statics of the frame's crate, or those of this name.
    pub(crate) fn statics(&self, frame: &Frame, wanted: Option<&str>) -> Vec<(String, Place)> {
        let Some(scope) = &frame.scope else { return Vec::new() };
        let mut found = Vec::new();
        for unit in self.image.crate_of(&scope.unit) {
            for (name, address, offset) in unit.statics(self.image) {
                if wanted.is_some_and(|wanted| wanted != name) {
                    continue;
                }
                let of = unit.entry(*offset).and_then(|entry| unit.reference(entry.attr_value(dw::DW_AT_type)?));
                if let Some(of) = of.and_then(|of| self.image.type_at(of)) {
                    found.push((name.clone(), Place { of, at: At::Memory(self.image.in_memory(*address)) }));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn frame_base(&self, scope: &Scope) -> Result<u64, Fault> {
        let none = Fault::Absent("the frame's variables are not recorded");
        let function = scope.unit.entry(scope.function).ok_or(none.clone())?;
        match function.attr_value(dw::DW_AT_frame_base) {
            Some(AttributeValue::Exprloc(expression)) => match self.evaluate(scope, expression, None)? {
                Found::Address(address) => Ok(address),
                // `DW_OP_reg7` as a frame base means what the register holds.
                Found::Register(register) => register_of(scope, register),
                Found::Bytes(_) => Err(none),
            },
            _ => Err(none),
        }
    }

    fn locate(&self, scope: &Scope, entry: &Entry, of: Arc<Type>, base: &Result<u64, Fault>) -> Result<Place, Fault> {
        let removed = Fault::Absent("optimised out");
        if let Some(value) = entry.attr_value(dw::DW_AT_const_value) {
            let bits = match value {
                AttributeValue::Sdata(value) => i128::from(value).cast_unsigned(),
                AttributeValue::Data16(value) => value,
                value => u128::from(value.udata_value().ok_or(removed)?),
            };
            return place_of_bits(of, bits);
        }
        let expression = match entry.attr_value(dw::DW_AT_location) {
            // What has no size needs no place.
            None if of.size == 0 => return Ok(Place { of, at: At::Bytes(Arc::new([])) }),
            None => return Err(removed),
            Some(AttributeValue::Exprloc(expression)) => expression,
            Some(list) => {
                let mut found = None;
                if let Ok(Some(mut list)) = self.image.dwarf().attr_locations(&scope.unit.unit, list) {
                    while let Ok(Some(entry)) = list.next() {
                        if (entry.range.begin..entry.range.end).contains(&scope.address) {
                            found = Some(entry.data);
                        }
                    }
                }
                found.ok_or(removed.clone())?
            }
        };
        match self.evaluate(scope, expression, Some(base))? {
            Found::Address(address) => Ok(Place { of, at: At::Memory(address) }),
            Found::Register(register) => place_of_bits(of, register_of(scope, register)?.into()),
            Found::Bytes(bytes) => Ok(Place { of, at: At::Bytes(bytes.into()) }),
        }
    }

    /// Runs a location expression.
    fn evaluate(
        &self,
        scope: &Scope,
        expression: gimli::Expression<Bytes>,
        base: Option<&Result<u64, Fault>>,
    ) -> Result<Found, Fault> {
        let damaged = |_: gimli::Error| Fault::Absent("where it is, is not understood");
        let mut evaluation = expression.evaluation(scope.unit.unit.encoding());
        evaluation.set_max_iterations(1000);
        let mut state = evaluation.evaluate().map_err(damaged)?;
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut bytes = [0; 8];
                    let target = bytes.get_mut(..usize::from(size)).ok_or(Fault::Layout)?;
                    self.read(address, target)?;
                    evaluation.resume_with_memory(gimli::Value::Generic(u64::from_ne_bytes(bytes)))
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = register_of(scope, register)?;
                    evaluation.resume_with_register(gimli::Value::Generic(value))
                }
                EvaluationResult::RequiresFrameBase => {
                    let none = Fault::Absent("the frame's base refers to itself");
                    evaluation.resume_with_frame_base(base.cloned().unwrap_or(Err(none))?)
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    let none = Fault::Absent("the frame around is not known");
                    evaluation.resume_with_call_frame_cfa(scope.cfa.ok_or(none)?)
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(self.image.in_memory(address))
                }
                EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                    let address = self.image.dwarf().address(&scope.unit.unit, index).map_err(damaged)?;
                    let address = if relocate { self.image.in_memory(address) } else { address };
                    evaluation.resume_with_indexed_address(address)
                }
                EvaluationResult::RequiresBaseType(_) => evaluation.resume_with_base_type(gimli::ValueType::Generic),
                _ => return Err(Fault::Absent("optimised: its value is no longer kept")),
            }
            .map_err(damaged)?;
        }
        let pieces = evaluation.result();
        match pieces.as_slice() {
            [piece] if piece.size_in_bits.is_none() => self.piece(&piece.location),
            [] => Err(Fault::Absent("optimised out")),
            pieces => {
                let mut bytes = Vec::new();
                for piece in pieces {
                    let size = usize::try_from(piece.size_in_bits.unwrap_or(0) / 8).unwrap_or(usize::MAX).min(4096);
                    match self.piece(&piece.location)? {
                        Found::Address(address) => bytes.extend(self.bytes(address, size)?),
                        Found::Register(register) => {
                            let value = register_of(scope, register)?.to_ne_bytes();
                            bytes.extend_from_slice(value.get(..size).unwrap_or(&value));
                        }
                        Found::Bytes(value) => bytes.extend_from_slice(value.get(..size).unwrap_or(&value)),
                    }
                }
                Ok(Found::Bytes(bytes))
            }
        }
    }

    fn piece(&self, location: &Location<Bytes>) -> Result<Found, Fault> {
        match location {
            Location::Address { address } => Ok(Found::Address(*address)),
            Location::Register { register } => Ok(Found::Register(*register)),
            Location::Value { value } => {
                let value = value.to_u64(u64::MAX).map_err(|_| Fault::Layout)?;
                Ok(Found::Bytes(value.to_ne_bytes().to_vec()))
            }
            Location::Bytes { value } => Ok(Found::Bytes(value.to_vec())),
            _ => Err(Fault::Absent("optimised out")),
        }
    }
}

/// Whether a variable is a part of what an `async` function keeps while it waits.
fn is_in_state(scope: &Scope, entry: &Entry) -> bool {
    let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(dw::DW_AT_location) else { return false };
    let mut operations = expression.operations(scope.unit.unit.encoding());
    while let Ok(Some(operation)) = operations.next() {
        if matches!(operation, gimli::Operation::Deref { .. }) {
            return true;
        }
    }
    false
}

enum Found {
    Address(u64),
    Register(gimli::Register),
    Bytes(Vec<u8>),
}

fn place_of_bits(of: Arc<Type>, bits: u128) -> Result<Place, Fault> {
    let bytes = bits.to_le_bytes();
    let size = usize::try_from(of.size).unwrap_or(usize::MAX);
    let at = At::Bytes(bytes.get(..size).ok_or(Fault::Absent("only a part of it is known"))?.into());
    Ok(Place { of, at })
}

/// The registers that a frame keeps across a call, by their numbers in DWARF.
fn register_of(scope: &Scope, register: gimli::Register) -> Result<u64, Fault> {
    let registers = &scope.registers;
    let numbers: [(u16, u64); 3] = if cfg!(target_arch = "aarch64") {
        [(29, registers.frame_pointer), (31, registers.sp), (19, registers.base)]
    } else {
        [(6, registers.frame_pointer), (7, registers.sp), (3, registers.base)]
    };
    let found = numbers.iter().find(|(number, _)| *number == register.0);
    found.map(|&(_, value)| value).ok_or(Fault::Absent("it was in a register that the call did not keep"))
}
