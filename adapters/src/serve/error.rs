//! What a client is told when a request cannot be done: OpenAI's error object, with llama.cpp's and vLLM's words.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use bench_engine::EngineError;
use serde_json::{Value, json};

/// Seconds after which a refused client may try again: about one short request.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error as the client gets it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    /// The field at fault.
    param: Option<String>,
    /// Tokens of the prompt and of the context, where the one is too long for the other.
    too_long: Option<(usize, usize)>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, too_long: None }
    }

    /// A request that makes no sense as a whole.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field with a value that will not do.
    pub(super) fn bad_field(name: &str, got: &Value, expected: &str) -> Self {
        let got: String = got.to_string().chars().take(80).collect();
        let message = format!("`{name}`: got {got}, expected {expected}");
        Self { param: Some(name.to_owned()), ..Self::bad_request(message) }
    }

    /// A field that asks for something this server does not do.
    pub(super) fn unsupported(name: &str, got: &Value) -> Self {
        let mut error = Self::bad_field(name, got, "it to be left out: this server cannot do that");
        error.kind = "not_supported_error";
        error
    }

    pub(super) fn prompt_too_long(prompt_tokens: usize, context_tokens: usize) -> Self {
        let message = format!(
            "the prompt has {prompt_tokens} tokens, the context holds {context_tokens} with the output"
        );
        let error = Self::new(StatusCode::BAD_REQUEST, "exceed_context_size_error", message);
        Self { too_long: Some((prompt_tokens, context_tokens)), ..error }
    }

    pub(super) fn unknown_model(name: &str, alias: &str) -> Self {
        let name: String = name.chars().take(80).collect();
        let message = format!("the model `{name}` does not exist; this server has `{alias}`");
        let error = Self::new(StatusCode::NOT_FOUND, "not_found_error", message);
        Self { param: Some("model".to_owned()), ..error }
    }

    pub(super) fn no_such_route(path: &str) -> Self {
        let path: String = path.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "not_found_error", format!("no route `{path}`"))
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "this route has another method")
    }

    pub(super) fn body(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    pub(super) fn no_key() -> Self {
        let message = "this server wants `Authorization: Bearer KEY`, and the key was missing or another one";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
    }

    pub(super) fn loading() -> Self {
        Self::unavailable("Loading model")
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// What the engine says while it generates. What a request can be blamed for was checked before.
    pub(super) fn of_engine(error: &EngineError) -> Self {
        let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
        Self::internal(format!("{error}{hint}"))
    }

    /// The error object.
    pub(super) fn json(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.status.as_u16(),
        });
        if let Some((prompt, context)) = self.too_long {
            error["n_prompt_tokens"] = json!(prompt);
            error["n_ctx"] = json!(context);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = json_response(self.status, &self.json());
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}

/// A JSON body.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
