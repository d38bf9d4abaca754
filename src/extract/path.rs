//! `Path<T>`: the parameters of a path as typed values.

use super::values::{Entries, Unfit, Value, scalars};
use crate::router::Params;
use crate::{Error, FromRequest, Request, Result};
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

/// The parameters of the path: one value, a tuple in the order of the path, or a struct or map by name.
///
/// # Errors
///
/// 404 where a value is not of its type: `/posts/{id}` with a number has no page `/posts/new`. 400 where a parameter is not
/// UTF-8 after decoding.
///
/// ```
/// use purlin::Path;
///
/// async fn day(Path((year, month, day)): Path<(u16, u8, u8)>) -> String {
///     format!("{year:04}-{month:02}-{day:02}")
/// }
/// # purlin::Router::new().route("/{year}/{month}/{day}", purlin::get(day));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let none = Params::default();
        let params = req.extensions().get::<Params>().unwrap_or(&none);
        let mut values = Vec::with_capacity(params.len());
        for (name, raw) in params.iter() {
            let text = percent_decode_str(raw).decode_utf8().map_err(|_| {
                Error::bad_request(format!("expected the path's parameter `{name}` in UTF-8, found {raw:?}"))
                    .public("The address is not UTF-8.")
            })?;
            values.push(Value { what: "the path's parameter", name: name.into(), text });
        }
        match T::deserialize(Values(&values)) {
            Ok(value) => Ok(Self(value)),
            // What the only parameter is made into had a rule of its own.
            Err(error) => Err(match if let [value] = &values[..] { error.of(value) } else { error } {
                Unfit::Value { message, .. } => Error::not_found(message),
                Unfit::Type(message) => {
                    Error::internal(format!("the path's parameters do not fit the type asked for: {message}"))
                }
            }),
        }
    }
}

struct Values<'a>(&'a [Value<'a>]);

impl<'a> Values<'a> {
    fn only(&self) -> Result<Value<'a>, Unfit> {
        match self.0 {
            [value] => Ok(value.clone()),
            values => Err(Unfit::Type(format!(
                "the path has {} parameters, and the handler asks for one value: take a tuple or a struct",
                values.len()
            ))),
        }
    }

    fn sequence<'de, V: Visitor<'de>>(&self, length: Option<usize>, visitor: V) -> Result<V::Value, Unfit>
    where
        'a: 'de,
    {
        if let Some(length) = length.filter(|length| *length != self.0.len()) {
            return Err(Unfit::Type(format!(
                "the path has {} parameters, and the handler asks for {length}",
                self.0.len()
            )));
        }
        visitor.visit_seq(Entries::new(self.0.iter().cloned()))
    }
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Unfit;

    scalars!(only);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.only()?.deserialize_bool(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.only()?.deserialize_option(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.0 {
            [_] => self.only()?.deserialize_any(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.sequence(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.sequence(Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.sequence(Some(length), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_map(Entries::new(self.0.iter().cloned()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }
}
