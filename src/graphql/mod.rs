//! The GraphQL surface. `async_graphql`, a release candidate, is named in this room only; the HTTP room
//! sees requests, payloads and errors of ours.

mod absent;
mod catalogue_input;
mod context;
mod cursor;
mod definitions;
mod error;
mod event_input;
mod explore_input;
mod guard;
mod input;
mod limits;
mod loader;
mod mutation;
mod object;
mod query;
mod recommendation_input;
mod scalars;
mod shared;
mod subscription;

use std::{sync::Arc, time::Instant};

use async_graphql::{
    PathSegment, Request, Response, Schema, ServerError, Variables,
    parser::{
        parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet},
    },
};
use futures_util::{StreamExt, stream::BoxStream};
use moka::future::Cache;

use self::{
    context::CurrentViewer,
    loader::Batches,
    mutation::Mutation,
    query::Query,
    shared::{SharedSubscriptions, SubscriptionKey},
    subscription::Subscription,
};
pub use self::{context::Services, error::ApiError, limits::DocumentLimits};
use crate::{
    domain::{error::ErrorKind, viewer::Viewer},
    telemetry::Metrics,
};

type BackbeatSchema = Schema<Query, Mutation, Subscription>;

/// The published contract, as `schema.graphql` holds it.
pub fn sdl() -> String {
    let schema = Schema::build(Query, Mutation, Subscription).finish();
    let options = async_graphql::SDLExportOptions::new().prefer_single_line_descriptions().use_space_ident();
    schema.sdl_with_options(options)
}

/// A GraphQL request as a transport decoded it.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphqlRequest {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Option<serde_json::Map<String, serde_json::Value>>,
    /// Must be an object where it is given; nothing in it is used.
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    Query,
    Mutation,
    Subscription,
}

impl OperationKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// A response's JSON text. Cheap to clone, so that many sockets can send the same.
pub type Payload = Arc<str>;

/// A response, and whether the request failed before anything of it was executed.
pub struct ExecutedResponse {
    pub payload: Payload,
    /// The kind of the first error of a request that was not executed.
    pub request_error: Option<ErrorKind>,
    /// The kind of the first error of a request that gave nothing and may be sent again later.
    pub retry_error: Option<ErrorKind>,
}

/// A request whose document is parsed and within the limits.
pub struct PreparedRequest {
    request: GraphqlRequest,
    document: Arc<ExecutableDocument>,
    pub kind: OperationKind,
}

/// The schema with its services. Cheap to clone.
#[derive(Clone)]
pub struct GraphqlApi {
    schema: BackbeatSchema,
    services: Services,
    documents: Cache<String, Arc<ExecutableDocument>>,
    limits: DocumentLimits,
    subscriptions: SharedSubscriptions,
    metrics: Arc<Metrics>,
}

/// Parsed documents that are kept: a frontend sends the same few again and again.
const DOCUMENTS_MAX: u64 = 1_000;

impl GraphqlApi {
    pub fn new(services: Services, limits: DocumentLimits, introspection: bool, metrics: Arc<Metrics>) -> Self {
        // The chain of extensions stays empty: any would cost every field its fast path.
        let mut schema = Schema::build(Query, Mutation, Subscription)
            .data(services.clone())
            .limit_depth(limits.depth_max)
            .limit_complexity(limits.cost_max)
            .limit_directives(10);
        if !introspection {
            schema = schema.disable_introspection();
        }
        Self {
            schema: schema.finish(),
            services,
            documents: Cache::new(DOCUMENTS_MAX),
            limits,
            subscriptions: SharedSubscriptions::default(),
            metrics,
        }
    }

    /// Parses a request's document, or takes it from the cache, and finds its operation.
    pub async fn prepare(&self, request: GraphqlRequest) -> Result<PreparedRequest, ExecutedResponse> {
        self.try_prepare(request).await.map_err(|error| failed(error.into_server_error()))
    }

    async fn try_prepare(&self, request: GraphqlRequest) -> Result<PreparedRequest, ApiError> {
        let document = match self.documents.get(&request.query).await {
            Some(document) => document,
            None => {
                limits::scan(&request.query, &self.limits)?;
                let document = parse_query(&request.query)
                    .map_err(|error| ApiError::new(ErrorKind::ParseFailed, parse_message(&error)))?;
                limits::check(&document, &self.limits)?;
                let document = Arc::new(document);
                self.documents.insert(request.query.clone(), document.clone()).await;
                document
            }
        };
        let operation = operation(&document, request.operation_name.as_deref())?;
        require_variables(operation, request.variables.as_ref())?;
        let kind = match operation.ty {
            OperationType::Query => OperationKind::Query,
            OperationType::Mutation => OperationKind::Mutation,
            OperationType::Subscription => OperationKind::Subscription,
        };
        Ok(PreparedRequest { request, document, kind })
    }

    /// Executes a query or a mutation.
    pub async fn execute(&self, prepared: PreparedRequest, viewer: Option<Viewer>) -> ExecutedResponse {
        let began = Instant::now();
        let (kind, name) = (prepared.kind, prepared.request.operation_name.clone());
        let (request, mut batches) = self.request(prepared, viewer);
        let response = batches.drive(self.schema.execute(request)).await;
        let is_ok = response.errors.is_empty();
        self.metrics.count_operation(kind.word(), name.as_deref(), is_ok, began.elapsed().as_secs_f64());
        executed(response)
    }

    /// Runs a subscription. Subscribers of one scope who ask the same share one execution.
    pub fn subscribe(&self, prepared: PreparedRequest, viewer: Option<Viewer>) -> BoxStream<'static, Payload> {
        self.metrics.count_operation(prepared.kind.word(), prepared.request.operation_name.as_deref(), true, 0.0);
        let key = SubscriptionKey {
            query: prepared.request.query.clone(),
            operation_name: prepared.request.operation_name.clone(),
            variables: serde_json::to_string(&prepared.request.variables).unwrap_or_default(),
            scope: viewer.as_ref().map(Viewer::scope),
        };
        let is_of_events = hands_out_events(&prepared);
        let api = self.clone();
        let start = move || -> BoxStream<'static, Payload> {
            let shared = viewer.map(|viewer| viewer.scope().viewer(viewer.expires_at_s));
            let (request, batches) = api.request(prepared, shared);
            let responses = api.schema.execute_stream(request);
            futures_util::stream::unfold((responses, batches), |(mut responses, mut batches)| async move {
                let response = batches.drive(responses.next()).await?;
                Some((executed(response).payload, (responses, batches)))
            })
            .boxed()
        };
        // What is shared is the newest state. Of events each counts: who is slow has to learn what they missed.
        if is_of_events { start() } else { self.subscriptions.join(key, start) }
    }

    fn request(&self, prepared: PreparedRequest, viewer: Option<Viewer>) -> (Request, Batches) {
        let GraphqlRequest { query, operation_name, variables, .. } = prepared.request;
        let variables = variables.map(serde_json::Value::Object).map(Variables::from_json).unwrap_or_default();
        let (loader, batches) = loader::loader(self.services.clone());
        let mut document = (*prepared.document).clone();
        absent::take_out(&mut document, &variables);
        let mut request = Request::new(query).variables(variables).data(CurrentViewer(viewer)).data(loader);
        request.operation_name = operation_name;
        request.set_parsed_query(document);
        (request, batches)
    }
}

/// Whether a subscription is to events, one after the other, and not to a state.
fn hands_out_events(prepared: &PreparedRequest) -> bool {
    fn is_among(selections: &SelectionSet, document: &ExecutableDocument) -> bool {
        selections.items.iter().any(|selection| match &selection.node {
            Selection::Field(field) => field.node.name.node == "events",
            Selection::InlineFragment(fragment) => is_among(&fragment.node.selection_set.node, document),
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                fragment.is_some_and(|fragment| is_among(&fragment.node.selection_set.node, document))
            }
        })
    }
    let document = &prepared.document;
    operation(document, prepared.request.operation_name.as_deref())
        .is_ok_and(|operation| is_among(&operation.selection_set.node, document))
}

/// The response to a request that cannot be executed at all.
pub fn refusal(error: ApiError) -> ExecutedResponse {
    failed(error.into_server_error())
}

fn failed(mut error: ServerError) -> ExecutedResponse {
    // There is no place in the document that it belongs to.
    error.locations.clear();
    executed(Response::from_errors(vec![error]))
}

fn executed(mut response: Response) -> ExecutedResponse {
    let is_request_error = !response.errors.is_empty()
        && response.data == async_graphql::Value::Null
        && response.errors.iter().all(|error| error.path.is_empty());
    for error in &mut response.errors {
        complete(error);
    }
    let first_error = response.errors.first().map(kind_of);
    let is_empty = response.data == async_graphql::Value::Null;
    let request_error = first_error.filter(|_| is_request_error);
    let retry_error = first_error.filter(|kind| is_empty && kind.retry_after_s().is_some());
    let payload = if is_request_error {
        // A request that was not executed has no data, not even null.
        serde_json::to_string(&serde_json::json!({ "errors": response.errors }))
    } else {
        serde_json::to_string(&response)
    };
    let payload = payload.unwrap_or_else(|_| r#"{"errors":[{"message":"the answer cannot be written"}]}"#.to_owned());
    ExecutedResponse { payload: payload.into(), request_error, retry_error }
}

/// Gives every error a code of the closed list: ours have one, the executor's own do not.
fn complete(error: &mut ServerError) {
    let has_code = error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some());
    if has_code {
        return;
    }
    let kind =
        if error.message.starts_with("Query is too complex") || error.message.starts_with("Query is nested too deep") {
            ErrorKind::TooComplex
        } else if error.path.iter().any(|segment| matches!(segment, PathSegment::Field(_))) {
            // An argument's value that its scalar refused.
            ErrorKind::InvalidInput
        } else {
            ErrorKind::ValidationFailed
        };
    error.extensions.get_or_insert_default().set("code", kind.code());
}

fn kind_of(error: &ServerError) -> ErrorKind {
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    ErrorKind::ALL
        .into_iter()
        .find(|kind| matches!(code, Some(async_graphql::Value::String(code)) if code == kind.code()))
        .unwrap_or(ErrorKind::Internal)
}

fn parse_message(error: &async_graphql::parser::Error) -> String {
    let position = error.positions().next();
    let place = position.map(|at| format!(" at line {}, column {}", at.line, at.column)).unwrap_or_default();
    format!("the document is not GraphQL{place}")
}

fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, ApiError> {
    let invalid = |message: String| ApiError::new(ErrorKind::ValidationFailed, message);
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next().ok_or_else(|| invalid("the document holds no operation".to_owned()))?
        }
        (DocumentOperations::Multiple(_), None) => {
            return Err(invalid("the document holds several operations; send operationName".to_owned()));
        }
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).ok_or_else(|| invalid(format!("the document holds no operation named {name:?}")))?
        }
        (DocumentOperations::Single(_), Some(name)) => {
            return Err(invalid(format!("the document holds no operation named {name:?}")));
        }
    };
    Ok(&operation.node)
}

/// Checks that what the operation cannot do without is there. The executor itself would take it for null and
/// say so only at the field that uses it; the specification (6.1.2) has the request fail before execution.
fn require_variables(
    operation: &OperationDefinition,
    given: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<(), ApiError> {
    for definition in &operation.variable_definitions {
        let (name, definition) = (definition.node.name.node.as_str(), &definition.node);
        let is_missing = match given.and_then(|given| given.get(name)) {
            None => definition.default_value.is_none(),
            Some(value) => value.is_null(),
        };
        if is_missing && !definition.var_type.node.nullable {
            let message = format!("the variable ${name} is required, its type is {}", definition.var_type.node);
            return Err(ApiError { field: Some(name.to_owned()), ..ApiError::new(ErrorKind::InvalidInput, message) });
        }
    }
    Ok(())
}
