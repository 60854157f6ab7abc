//! GraphiQL, complete without the internet. `web/` holds its sources and how it is built.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::Edge;

/// The tightest policy that the page works under.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

static ASSETS: [Asset; 4] = [
    Asset { path: "/", content_type: "text/html; charset=utf-8", bytes: include_bytes!("../../web/dist/index.html") },
    Asset {
        path: "/graphiql.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../web/dist/graphiql.js"),
    },
    Asset {
        path: "/graphiql.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../web/dist/graphiql.css"),
    },
    Asset { path: "/favicon.svg", content_type: "image/svg+xml", bytes: include_bytes!("../../web/dist/favicon.svg") },
];

pub fn routes() -> Router<Edge> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(move |headers: HeaderMap| async move { serve(asset, &headers) }))
    })
}

/// Names carry no hash, so browsers ask each time whether their copy is still the one.
fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let tag = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");
    let common = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_TYPE, asset.content_type),
    ];
    let tag = format!("{}-{}", tag.trim_matches('"'), asset.bytes.len());
    let tag = format!("\"{tag}\"");
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        (StatusCode::NOT_MODIFIED, common).into_response()
    } else {
        (common, asset.bytes).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
