//! What commands that work on the database share.

use std::path::Path;

use super::Failure;
use crate::{
    config::{self, KeyNeed, Settings},
    db::Database,
};

/// Settings for a command that needs no key for tokens, and logs of warnings only.
pub fn settings(config: Option<&Path>) -> Result<Settings, Failure> {
    let settings = config::load(config, KeyNeed::Optional)?;
    let level = if settings.log_level == "info" { "warn" } else { &settings.log_level };
    crate::telemetry::init_logs(level, settings.log_json);
    Ok(settings)
}

/// Connects to the configured database.
pub async fn connect(settings: &Settings) -> Result<Database, Failure> {
    Ok(Database::connect(&settings.database, None).await?)
}
