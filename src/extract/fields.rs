//! The fields of a query or a form as typed values.

use super::values::{Entries, Unfit, Value, scalars};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads `application/x-www-form-urlencoded` (WHATWG URL §5.1).
///
/// Unlike `serde_urlencoded` alone, it names the field that does not fit, collects a name that comes several times (check
/// boxes, a select that takes several) into a `Vec`, and takes `on`, what browsers send for a ticked box, as `true`.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unfit> {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        serde_urlencoded::from_bytes(text).map_err(|error| Unfit::Type(error.to_string()))?;
    let values = pairs.into_iter().map(|(name, text)| Value { what: "the field", name, text });
    T::deserialize(Fields(values.collect()))
}

struct Fields<'a>(Vec<Value<'a>>);

impl<'a> Fields<'a> {
    /// The values of each name, in the order of the names.
    fn groups(self, several: Several) -> Groups<'a> {
        let mut groups: Vec<Field<'a>> = Vec::new();
        // A client may send hundreds of thousands of names: no search among them all.
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
        for value in self.0 {
            match places.get(&value.name) {
                Some(&at) => groups[at].values.push(value),
                None => {
                    places.insert(value.name.clone(), groups.len());
                    groups.push(Field { values: vec![value], several });
                }
            }
        }
        Groups { groups: groups.into_iter(), current: None }
    }
}

/// What one value is made of when there are several.
#[derive(Clone, Copy)]
enum Several {
    Refused,
    Last,
}

impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_map(self.groups(Several::Last))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_map(self.groups(Several::Refused))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_seq(MapDeserializer::new(self.0.into_iter().map(|value| (value.name.clone(), value))))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct tuple tuple_struct
        map enum identifier ignored_any
    }
}

struct Groups<'a> {
    groups: std::vec::IntoIter<Field<'a>>,
    current: Option<Field<'a>>,
}

impl<'de> MapAccess<'de> for Groups<'de> {
    type Error = Unfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unfit> {
        self.current = self.groups.next();
        let Some(value) = self.current.as_ref().and_then(|field| field.values.first()) else {
            return Ok(None);
        };
        seed.deserialize(Value { what: "the name", name: value.name.clone(), text: value.name.clone() }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unfit> {
        let field =
            self.current.take().ok_or_else(|| Unfit::Type("a value was asked for before its name".to_owned()))?;
        let last = field.values.last().cloned();
        seed.deserialize(field).map_err(|unfit| last.iter().fold(unfit, |unfit, value| unfit.of(value)))
    }
}

/// The values that came under one name: at least one.
struct Field<'a> {
    values: Vec<Value<'a>>,
    several: Several,
}

impl<'a> Field<'a> {
    fn one(mut self) -> Result<Value<'a>, Unfit> {
        let (several, count) = (self.several, self.values.len());
        match self.values.pop() {
            Some(value) if count == 1 || matches!(several, Several::Last) => Ok(value),
            Some(value) => Err(value.sent_more_than_once(count)),
            None => Err(Unfit::Type("a field without a value".to_owned())),
        }
    }
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = Unfit;

    scalars!(one);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        let value = self.one()?;
        if value.text == "on" { visitor.visit_bool(true) } else { value.deserialize_bool(visitor) }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.one()?.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_seq(Entries::new(self.values.into_iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.one()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        unit unit_struct tuple tuple_struct map struct
    }
}
