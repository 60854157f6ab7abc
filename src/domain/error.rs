//! The closed list of error kinds that clients meet, and the two forms in which they meet them.

/// Why a request was not answered. Every room's errors choose their place here; the GraphQL and the
/// HTTP edge render it, and nothing else decides on codes and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidInput,
    ParseFailed,
    ValidationFailed,
    TooComplex,
    BudgetExceeded,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    PayloadTooLarge,
    Conflict,
    TooManyRequests,
    Unavailable,
    Timeout,
    Internal,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 17] = [
        Self::InvalidInput,
        Self::ParseFailed,
        Self::ValidationFailed,
        Self::TooComplex,
        Self::BudgetExceeded,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::UnsupportedMediaType,
        Self::PayloadTooLarge,
        Self::Conflict,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// `extensions.code` in GraphQL, `code` in a problem document.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidInput => "BAD_USER_INPUT",
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::TooComplex => "QUERY_TOO_COMPLEX",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::Conflict => "CONFLICT",
            Self::TooManyRequests => "RATE_LIMITED",
            Self::Unavailable => "SERVICE_UNAVAILABLE",
            Self::Timeout => "TIMEOUT",
            Self::Internal => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The HTTP status where the whole request failed with this kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidInput
            | Self::ParseFailed
            | Self::ValidationFailed
            | Self::TooComplex
            | Self::BudgetExceeded => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The short, constant title of a problem document.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidInput => "The request holds a value that cannot be used",
            Self::ParseFailed => "The GraphQL document cannot be parsed",
            Self::ValidationFailed => "The GraphQL document does not fit the schema",
            Self::TooComplex => "The GraphQL document asks for too much",
            Self::BudgetExceeded => "The answer would take more than is spent on one",
            Self::Unauthenticated => "A valid token is needed",
            Self::Forbidden => "This token may not do that",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "This address does not take that method",
            Self::NotAcceptable => "No form of the answer is acceptable to the client",
            Self::UnsupportedMediaType => "The body's type or encoding is not supported",
            Self::PayloadTooLarge => "The body is too large",
            Self::Conflict => "The request conflicts with what is stored",
            Self::TooManyRequests => "Too much at once",
            Self::Unavailable => "The service cannot take this now",
            Self::Timeout => "The answer took too long",
            Self::Internal => "Something went wrong on our side",
        }
    }

    /// After how many seconds a retry makes sense, where it does.
    pub const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::TooManyRequests => Some(1),
            Self::Unavailable => Some(2),
            _ => None,
        }
    }
}

/// The one sentence that every internal fault shows.
pub const INTERNAL_MESSAGE: &str = "something went wrong on our side; it is logged under the request's id";
