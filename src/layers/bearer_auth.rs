//! Signs in by a bearer token, for programs.

use crate::auth::{Account, Challenge, Token, Tokens, Visitor, provided};
use crate::service::BoxFuture;
use crate::site::{About, Start, short_name};
use crate::{Error, Middleware, Request, Response, Result, Service};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use std::fmt;
use std::sync::Arc;

/// Signs in who sends a token with each request, `Authorization: Bearer …` (RFC 6750).
///
/// Who sends none goes on as whoever the layers above know, or as nobody: [`require_user`](crate::auth::require_user)
/// keeps him out. Every 401 from below gets the challenge. Tokens in the query or in a form are not looked for.
///
/// # Errors
///
/// 401 for a token that nobody has, with `error="invalid_token"` in the challenge; 400 for what is no token, with
/// `error="invalid_request"` (§3.1).
///
/// ```
/// use purlin::auth::{Account, Token, Tokens, require_user};
/// use purlin::layers::BearerAuth;
/// use purlin::{Result, Router, Stack, get};
///
/// # struct User;
/// # impl Account for User {
/// #     fn id(&self) -> String { String::new() }
/// #     fn name(&self) -> String { String::new() }
/// #     fn password_hash(&self) -> Option<&str> { None }
/// #     fn stamp(&self) -> &str { "" }
/// # }
/// struct Keys; // In a site: a pool of connections to its database.
///
/// impl Tokens for Keys {
///     type User = User;
///
///     async fn by_token(&self, token: &Token) -> Result<Option<User>> {
///         let digest = token.digest();
///         // SELECT users.* FROM users JOIN api_keys … WHERE api_keys.digest = $1
/// #       let _ = digest;
///         Ok(None)
///     }
/// }
///
/// let api = Stack::new()
///     .layer(BearerAuth::new(Keys).realm("the API"))
///     .layer(require_user())
///     .app(Router::new().route("/", get(async || "data")));
/// # api.check().unwrap();
/// ```
#[derive(Clone)]
pub struct BearerAuth {
    tokens: Arc<dyn DynTokens>,
    name: &'static str,
    provides: fn(&mut About),
    realm: String,
    challenges: Result<Challenges, String>,
}

#[derive(Clone)]
struct Challenges {
    plain: Challenge,
    invalid_token: Challenge,
    invalid_request: Challenge,
}

impl BearerAuth {
    /// Signs in who has one of these tokens.
    pub fn new<T: Tokens>(tokens: T) -> Self {
        let layer = Self {
            tokens: Arc::new(tokens),
            name: short_name::<T>(),
            provides: provided::<T::User>,
            realm: String::new(),
            challenges: Err(String::new()),
        };
        layer.realm("this site")
    }

    /// What the token is for (RFC 9110 §11.5); `this site` by default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self.challenges = Challenges::new(&self.realm);
        self
    }

    /// The request, with its user if it has one.
    async fn signed_in(&self, mut req: Request) -> Result<Request> {
        let mut visitor = Visitor::of(&req).unwrap_or_default();
        let challenged = |error: Error, challenge: fn(&Challenges) -> &Challenge| match &self.challenges {
            Ok(challenges) => error.header(WWW_AUTHENTICATE, challenge(challenges).value().clone()),
            Err(_) => error,
        };
        let sent = Token::read(req.headers()).map_err(|malformed| {
            let error = Error::bad_request(malformed.to_string()).public("The request's token is none.");
            challenged(error, |challenges| &challenges.invalid_request)
        })?;
        if let Some(token) = sent {
            let user = self.tokens.by_token(&token).await?.ok_or_else(|| {
                let error = Error::unauthorized("nobody has this token").public("The request's token is not valid.");
                challenged(error, |challenges| &challenges.invalid_token)
            })?;
            visitor = visitor.by_header(user);
        }
        visitor.enter(&mut req);
        Ok(req)
    }
}

impl Challenges {
    fn new(realm: &str) -> Result<Self, String> {
        let with = |error| Challenge::new("Bearer", &[("realm", realm), ("error", error)]);
        Ok(Self {
            plain: Challenge::new("Bearer", &[("realm", realm)])?,
            invalid_token: with("invalid_token")?,
            invalid_request: with("invalid_request")?,
        })
    }
}

impl Middleware for BearerAuth {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = match self.signed_in(req).await {
            Ok(req) => next.call(req).await,
            Err(error) => error.in_layer("BearerAuth").into(),
        };
        if response.status() == StatusCode::UNAUTHORIZED
            && let Ok(challenges) = &self.challenges
        {
            challenges.plain.add(response.headers_mut());
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        (self.provides)(about);
        about.option("tokens", self.name).option("realm", &self.realm);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Err(problem) = &self.challenges {
            return Err(Error::internal(format!("BearerAuth: {problem}")));
        }
        Visitor::default_name(start);
        Ok(())
    }
}

impl fmt::Debug for BearerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth").field("tokens", &self.name).field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// `Tokens` as a trait object needs it.
trait DynTokens: Send + Sync {
    fn by_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>>;
}

impl<T: Tokens> DynTokens for T {
    fn by_token<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>> {
        Box::pin(async move { Ok(Tokens::by_token(self, token).await?.map(|user| Arc::new(user) as Arc<dyn Account>)) })
    }
}
