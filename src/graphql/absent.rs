//! Variables that a request leaves out.
//!
//! An argument that is one counts as not given (the specification, 6.4.1). async-graphql knows that where it executes,
//! and not where it adds costs up: there `ranking(first: $first)` without a value is an error. So such arguments are
//! taken out of the document beforehand, and the definitions of variables that nothing else uses.

use std::{collections::HashSet, convert::Infallible};

use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::types::{Directive, DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet},
};

/// Takes arguments out that are variables without a value.
pub fn take_out(document: &mut ExecutableDocument, given: &Variables) {
    let absent = absent(document, given);
    if absent.is_empty() {
        return;
    }
    for selections in selection_sets(document) {
        take_out_of(selections, &absent);
    }
    let mut used = HashSet::new();
    selection_sets(document).for_each(|selections| collect(selections, &mut used));
    for operation in operations(document) {
        collect_of_directives(&operation.directives, &mut used);
    }
    for operation in operations(document) {
        let is_needed = |name: &Name| used.contains(name) || !absent.contains(name);
        operation.variable_definitions.retain(|definition| is_needed(&definition.node.name.node));
    }
}

/// The variables without a value or a default.
fn absent(document: &mut ExecutableDocument, given: &Variables) -> HashSet<Name> {
    let definitions = operations(document).flat_map(|operation| &operation.variable_definitions);
    let absent = definitions
        .map(|definition| &definition.node)
        .filter(|definition| definition.default_value.is_none() && !given.contains_key(&definition.name.node));
    absent.map(|definition| definition.name.node.clone()).collect()
}

fn operations(document: &mut ExecutableDocument) -> impl Iterator<Item = &mut OperationDefinition> {
    let operations: Vec<&mut Positioned<OperationDefinition>> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    operations.into_iter().map(|operation| &mut operation.node)
}

/// Those of operations and of fragments.
fn selection_sets(document: &mut ExecutableDocument) -> impl Iterator<Item = &mut SelectionSet> {
    let fragments = document.fragments.values_mut().map(|fragment| &mut fragment.node.selection_set.node);
    let operations: Vec<&mut Positioned<OperationDefinition>> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    fragments.chain(operations.into_iter().map(|operation| &mut operation.node.selection_set.node))
}

fn take_out_of(selections: &mut SelectionSet, absent: &HashSet<Name>) {
    for selection in &mut selections.items {
        match &mut selection.node {
            Selection::Field(field) => {
                // The type of values in documents has no name here; as text, a variable and nothing else begins so.
                let is_absent = |text: &str| text.strip_prefix('$').is_some_and(|name| absent.contains(name));
                field.node.arguments.retain(|(_, value)| !is_absent(&value.node.to_string()));
                take_out_of(&mut field.node.selection_set.node, absent);
            }
            Selection::InlineFragment(fragment) => take_out_of(&mut fragment.node.selection_set.node, absent),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// Which variables are used.
fn collect(selections: &mut SelectionSet, used: &mut HashSet<Name>) {
    for selection in &mut selections.items {
        collect_of_directives(selection.node.directives(), used);
        match &mut selection.node {
            Selection::Field(field) => {
                let values = field.node.arguments.iter().map(|(_, value)| value.node.clone());
                values.for_each(|value| drop(value.into_const_with(|name| note(name, used))));
                collect(&mut field.node.selection_set.node, used);
            }
            Selection::InlineFragment(fragment) => collect(&mut fragment.node.selection_set.node, used),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn collect_of_directives(directives: &[Positioned<Directive>], used: &mut HashSet<Name>) {
    let arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
    let values = arguments.map(|(_, value)| value.node.clone());
    values.for_each(|value| drop(value.into_const_with(|name| note(name, used))));
}

/// Anything would do as the variable's value: only its name is of interest.
fn note(name: Name, used: &mut HashSet<Name>) -> Result<Value, Infallible> {
    used.insert(name);
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn arguments_without_a_value_go_and_so_do_definitions_that_nothing_uses() {
        let mut document = parse_query(
            "query ($a: Int, $b: Int, $c: Int = 1, $d: Int, $e: Boolean) {
                x(first: $a, after: $b, last: $c, filter: {list: [$d]}) { ... @include(if: $e) { y(d: $d) } ...F }
            } fragment F on X { z(first: $a) }",
        )
        .unwrap();
        take_out(&mut document, &Variables::from_json(serde_json::json!({"b": null})));
        let mut used = HashSet::new();
        selection_sets(&mut document).for_each(|selections| collect(selections, &mut used));
        let sorted = |names: Vec<String>| {
            let mut names = names;
            names.sort();
            names
        };
        assert_eq!(sorted(used.iter().map(Name::to_string).collect()), ["b", "c", "d", "e"]);
        let definitions = operations(&mut document).flat_map(|operation| &operation.variable_definitions);
        let defined = definitions.map(|definition| definition.node.name.node.to_string()).collect();
        assert_eq!(sorted(defined), ["b", "c", "d", "e"]);
    }
}
