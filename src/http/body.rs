//! Reads bodies: bounded before and after decompression.

use std::io::Read;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};

use super::problem::Problem;
use crate::domain::error::ErrorKind;

/// The body's bytes, decompressed, at most `size_bytes_max` of them.
pub async fn read(headers: &HeaderMap, body: Body, size_bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            ErrorKind::PayloadTooLarge,
            format!("the limit is {size_bytes_max} bytes, after decompression too; send several requests"),
        )
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > size_bytes_max) {
        return Err(too_large());
    }
    let bytes = axum::body::to_bytes(body, size_bytes_max).await.map_err(|error| {
        let is_limit = std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("limit"));
        if is_limit { too_large() } else { Problem::new(ErrorKind::InvalidInput, "the body ended too early") }
    })?;
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |encoding| encoding.to_str());
    let encoding = encoding.unwrap_or_default().trim().to_ascii_lowercase();
    let decoded = match encoding.as_str() {
        "" | "identity" => return Ok(bytes),
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(&bytes[..]), size_bytes_max),
        "zstd" => zstd::Decoder::new(&bytes[..]).and_then(|mut decoder| {
            // A frame says how much its decoder must keep at hand; RFC 9659 allows 8 MiB over HTTP.
            decoder.window_log_max(23)?;
            bounded(decoder, size_bytes_max)
        }),
        other => {
            let detail = format!("the content encoding {other:?} is not supported; send gzip, zstd or none");
            return Err(Problem::new(ErrorKind::UnsupportedMediaType, detail));
        }
    };
    let decoded = decoded
        .map_err(|_| Problem::new(ErrorKind::InvalidInput, format!("the body is not what {encoding} makes of one")))?;
    if decoded.len() > size_bytes_max { Err(too_large()) } else { Ok(decoded.into()) }
}

/// At most one byte more than the limit: enough to see that it is passed, whatever is packed behind.
fn bounded(decoder: impl Read, size_bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    decoder.take(size_bytes_max as u64 + 1).read_to_end(&mut decoded)?;
    Ok(decoded)
}
