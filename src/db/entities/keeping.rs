//! What of the past is no longer all there; one row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "keeping")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    pub sealed_before_ms: Option<i64>,
    pub sealed_at_ms: Option<i64>,
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
    pub hours_before_ms: Option<i64>,
    pub folded_before_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
