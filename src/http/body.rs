//! Reads bodies: bounded before and after decompression.

use std::{io::Read, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use tokio::time::timeout;

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
    let bytes = match receive(body, size_bytes_max).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(too_large()),
        Err(_) => return Err(Problem::new(ErrorKind::InvalidInput, "the body ended too early")),
    };
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

/// How much of a body that is too large is still taken off the wire, and how long that may take. A client
/// that is cut off while it sends sees a broken connection, and never the answer that tells it why.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(10);

/// The whole body, or `None` where it is larger than the limit; then nothing of it is kept.
async fn receive(body: Body, size_bytes_max: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut chunks = body.into_data_stream();
    let mut received = Vec::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if received.len() + chunk.len() > size_bytes_max {
            drop(received);
            let mut discarded = 0;
            let _ = timeout(DISCARDING_MAX, async {
                while let Some(Ok(chunk)) = chunks.next().await {
                    discarded += chunk.len();
                    if discarded > DISCARDED_BYTES_MAX {
                        return;
                    }
                }
            })
            .await;
            return Ok(None);
        }
        received.extend_from_slice(&chunk);
    }
    Ok(Some(received.into()))
}

/// At most one byte more than the limit: enough to see that it is passed, whatever is packed behind.
fn bounded(decoder: impl Read, size_bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    decoder.take(size_bytes_max as u64 + 1).read_to_end(&mut decoded)?;
    Ok(decoded)
}
