//! `backbeat schema`

use std::process::ExitCode;

use super::Failure;

/// Print the GraphQL schema (SDL); needs no database.
///
/// The repository keeps it in schema.graphql: `backbeat schema > schema.graphql` accepts a change.
#[derive(Debug, clap::Args)]
pub struct SchemaArguments {}

pub fn run(_: SchemaArguments) -> Result<ExitCode, Failure> {
    print!("{}", crate::graphql::sdl());
    Ok(ExitCode::SUCCESS)
}
