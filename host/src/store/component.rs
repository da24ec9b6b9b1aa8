//! Components, and what they brought.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ComponentRow, Listed, MAX_PAGE, Page, Store, StoreError,
    codec::{self, unpack},
    db::{self, Builder, FromRow, Row, each, from_row},
    filter::{counting, push_count_end, push_dags, push_page},
};
use crate::model::{
    dag_access::DagSet,
    ids::{DagId, Digest},
    provenance::Provenance,
    time::Timestamp,
};

/// The columns of a component; its dags come apart.
struct Component {
    digest: Digest,
    size_bytes: i64,
    uploaded_at: Timestamp,
    uploaded_by: String,
    module: Vec<u8>,
    signer: Option<String>,
    dag_count: Option<i64>,
}

from_row!(Component { digest, size_bytes, uploaded_at, uploaded_by, module, signer, dag_count });

impl Store {
    pub async fn component_get(&self, digest: Digest) -> Result<Option<ComponentRow>, StoreError> {
        let row = db::query(include_str!("sql/component_get.sql")).bind(digest).fetch_optional(self.readers()).await?;
        Ok(self.component_rows(row.as_slice()).await?.pop())
    }

    /// What a component says of where it comes from. None: there is no such component, or it was uploaded before that was read.
    pub async fn component_provenance(&self, digest: Digest) -> Result<Option<Provenance>, StoreError> {
        let query = db::query_scalar(include_str!("sql/component_provenance.sql")).bind(digest);
        let packed: Option<Vec<u8>> = query.fetch_optional(self.readers()).await?;
        packed.map(|packed| Ok(unpack(&packed)?.0)).transpose()
    }

    /// The component that dags in YAML call `name`: of those with this name, the one that was uploaded last.
    pub async fn component_named(&self, name: &str) -> Result<Option<ComponentRow>, StoreError> {
        let row = db::query(include_str!("sql/component_named.sql")).bind(name).fetch_optional(self.readers()).await?;
        Ok(self.component_rows(row.as_slice()).await?.pop())
    }

    /// The dags whose newest version executes entries of `component` without having come with it, at most
    /// [`MAX_PAGE`] of them.
    pub async fn component_users(&self, component: Digest) -> Result<Vec<DagId>, StoreError> {
        let query = db::query_scalar(include_str!("sql/component_users.sql")).bind(component).bind(MAX_PAGE);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Components, the newest first: those that brought no dag, or one of `dags`.
    pub async fn component_list(&self, dags: &DagSet, page: Page) -> Result<Listed<ComponentRow>, StoreError> {
        let mut list = Builder::new(include_str!("sql/component_list.sql"));
        push_brought(&mut list, dags)?;
        list.push(" ORDER BY c.uploaded_at DESC, c.digest");
        push_page(&mut list, page);
        let mut count = counting(include_str!("sql/component_count.sql"));
        push_brought(&mut count, dags)?;
        push_count_end(&mut count);
        let (rows, total): (Vec<Row>, _) = tokio::try_join!(
            list.build().fetch_all(self.readers()),
            count.build_query_scalar().fetch_one(self.readers())
        )?;
        Ok(Listed { items: self.component_rows(&rows).await?, total })
    }

    /// Components after `after`, by digest: none is missed if others come or go meanwhile.
    pub async fn component_list_after(
        &self,
        after: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<ComponentRow>, StoreError> {
        let after = after.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let query = db::query(include_str!("sql/component_list_after.sql")).bind(after).bind(limit.min(MAX_PAGE));
        let rows = query.fetch_all(self.readers()).await?;
        self.component_rows(&rows).await
    }

    async fn component_rows(&self, rows: &[Row]) -> Result<Vec<ComponentRow>, StoreError> {
        let components = rows.iter().map(Component::from_row).collect::<Result<Vec<_>, _>>()?;
        if components.is_empty() {
            return Ok(Vec::new());
        }
        let digests: Vec<_> = components.iter().map(|component| component.digest).collect();
        let dags = db::query(each!("component_dags")).bind(codec::json(&digests)?).fetch_all(self.readers()).await?;
        let mut dag_ids: BTreeMap<Digest, Vec<DagId>> = BTreeMap::new();
        for row in dags {
            dag_ids.entry(row.try_get("component")?).or_default().push(row.try_get("dag_id")?);
        }
        let row = |component: Component| {
            let dag_ids = dag_ids.remove(&component.digest).unwrap_or_default();
            Ok(ComponentRow {
                digest: component.digest,
                size_bytes: component.size_bytes,
                module: Arc::new(unpack(&component.module)?.0),
                has_all_dags: component.dag_count.is_some_and(|count| usize::try_from(count) == Ok(dag_ids.len())),
                dag_ids,
                uploaded_at: component.uploaded_at,
                uploaded_by: component.uploaded_by,
                signer: component.signer,
            })
        };
        components.into_iter().map(row).collect()
    }
}

/// The component brought no dag, or one of `dags`.
fn push_brought(builder: &mut Builder, dags: &DagSet) -> Result<(), StoreError> {
    if dags.listed().is_some() {
        builder.push(" AND (NOT EXISTS (SELECT 1 FROM dag_version AS v WHERE v.component = c.digest)");
        builder.push(" OR EXISTS (SELECT 1 FROM dag_version AS v WHERE v.component = c.digest");
        push_dags(builder, "v.dag_id", dags)?;
        builder.push("))");
    }
    Ok(())
}
