//! Dags and their versions, and the deploy that makes them of a component.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use lru::LruCache;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{
    Audit, DagRow, DagVersionKey, DagVersionRow, Like, Listed, MAX_PAGE, Order, Page, Store, StoreError,
    codec::{self, pack, unpack},
    db::{self, Builder, Connection, Row, each},
    filter::{
        Range, counting, push_any, push_count_end, push_dags, push_either_like, push_like, push_page, push_range,
        push_words,
    },
};
use crate::model::{
    dag_access::DagSet,
    ids::{DagId, Digest},
    provenance::Provenance,
    spec::{DagSpec, ModuleSpec},
    state::RunState,
    time::{DataInterval, Timestamp},
};

/// A component with its dags, all of them checked.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// What the component carries: its dags become `dag_versions`.
    pub module: Arc<ModuleSpec>,
    pub digest: Digest,
    /// The key of its object, which is stored already.
    pub blob: String,
    pub size_bytes: i64,
    pub uploaded_by: String,
    /// Who signed it, if that was asked for.
    pub signer: Option<String>,
    /// Where it comes from, by its own words; none: it says nothing, as it is text.
    pub provenance: Option<Provenance>,
    /// Whether a new dag that does not say so itself is paused.
    pub paused_default: bool,
    pub now: Timestamp,
}

impl Deploy {
    /// What the audit log says of it: the dags by their versions.
    fn shown(&self, deployed: &[DeployedDag]) -> Value {
        let dags = deployed.iter().map(|dag| (dag.dag_id.to_string(), dag.version_number.into()));
        let mut shown = json!({"dags": dags.collect::<serde_json::Map<_, _>>()});
        if let Some(signer) = &self.signer {
            shown["signer"] = signer.as_str().into();
        }
        shown
    }
}

/// What became of a dag of a [`Deploy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedDag {
    pub dag_id: DagId,
    pub version: DagVersionKey,
    pub version_number: i64,
    /// The dag was not there before.
    pub created: bool,
    /// There is a new version.
    pub changed: bool,
}

/// Whether a dag must have one of the tags that are asked for, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TagMatch {
    #[default]
    Any,
    All,
}

/// What dags are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DagOrder {
    #[default]
    DagId,
    DisplayName,
    CreatedAt,
    UpdatedAt,
    /// By the state of the run that was made last.
    LastRunState,
    /// By when the run started that was made last.
    LastRunStartDate,
}

/// How the run is that was made last; none of a dag without runs, if anything is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRunFilter {
    pub state: Option<RunState>,
    /// One of these.
    pub states: Vec<RunState>,
    pub start_date: Range,
    pub end_date: Range,
}

/// Which dags. Empty lists and `None` ask for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct DagFilter {
    pub ids: Vec<DagId>,
    pub dags: DagSet,
    pub dag_id: Like,
    pub display_name: Like,
    /// The one or the other.
    pub dag_id_or_name: Like,
    pub tags: Vec<String>,
    pub tag_match: TagMatch,
    pub owners: Vec<String>,
    pub paused: Option<bool>,
    pub last_run: LastRunFilter,
    /// Whether they are scheduled on assets.
    pub on_assets: Option<bool>,
    /// Scheduled on an asset whose name or uri is like it.
    pub asset_like: Like,
    /// What the newest version came with.
    pub component: Option<Digest>,
    /// Those that this user marked; or, with `false`, the others.
    pub favorite_of: Option<(String, bool)>,
    pub order_by: DagOrder,
    pub order: Order,
}

/// Which versions of dags. `None` asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct DagVersionFilter {
    pub dags: DagSet,
    pub version_number: Option<i64>,
    /// What they came with.
    pub component: Option<Digest>,
}

impl DagVersionFilter {
    pub fn of_dag(dag_id: DagId) -> Self {
        Self { dags: DagSet::one(dag_id), ..Self::default() }
    }
}

/// Parsed specs of the `dag_versions` that were read last, and of those that anyone else holds.
#[derive(Debug)]
pub(super) struct SpecCache(Mutex<Specs>);

#[derive(Debug)]
struct Specs {
    by_version: LruCache<DagVersionKey, (Arc<DagSpec>, usize)>,
    json_bytes: usize,
    /// What was pushed out above and may still be in use, as the scheduler's specs are: a second copy would cost a second
    /// reading and a second memory.
    elsewhere: HashMap<DagVersionKey, Weak<DagSpec>>,
}

/// JSON behind the cached specs; they take about three times as much. The newest stays, whatever its size.
const SPECS_MAX_JSON_BYTES: usize = 16 << 20;

impl Default for SpecCache {
    fn default() -> Self {
        let specs = Specs { by_version: LruCache::unbounded(), json_bytes: 0, elsewhere: HashMap::new() };
        Self(Mutex::new(specs))
    }
}

impl SpecCache {
    fn get(&self, version: DagVersionKey) -> Option<Arc<DagSpec>> {
        let mut specs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((spec, _)) = specs.by_version.get(&version) {
            return Some(Arc::clone(spec));
        }
        specs.elsewhere.get(&version).and_then(Weak::upgrade)
    }

    fn put(&self, version: DagVersionKey, spec: &Arc<DagSpec>, json_bytes: usize) {
        let mut specs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, before)) = specs.by_version.put(version, (Arc::clone(spec), json_bytes)) {
            specs.json_bytes -= before;
        }
        specs.json_bytes += json_bytes;
        if specs.json_bytes <= SPECS_MAX_JSON_BYTES {
            return;
        }
        specs.elsewhere.retain(|_, spec| spec.strong_count() > 0);
        while specs.json_bytes > SPECS_MAX_JSON_BYTES && specs.by_version.len() > 1 {
            if let Some((version, (spec, bytes))) = specs.by_version.pop_lru() {
                specs.json_bytes -= bytes;
                specs.elsewhere.insert(version, Arc::downgrade(&spec));
            }
        }
    }
}

/// Dags whose specs are in memory at a time while their names are written down.
const UNNAMED_PAGE: u32 = 100;

fn dag_row(row: &Row, specs: &BTreeMap<DagVersionKey, Arc<DagSpec>>) -> Result<DagRow, StoreError> {
    let version = row.try_get("version")?;
    let (start, end): (Option<Timestamp>, Option<Timestamp>) =
        (row.try_get("last_scheduled_start")?, row.try_get("last_scheduled_end")?);
    Ok(DagRow {
        dag_id: row.try_get("dag_id")?,
        is_paused: row.try_get("is_paused")?,
        pause_reason: row.try_get("pause_reason")?,
        version,
        version_number: row.try_get("version_number")?,
        component: row.try_get("component")?,
        spec: spec_of(specs, version)?,
        last_scheduled: start.zip(end).map(|(start, end)| DataInterval { start, end }),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn dag_version_row(row: &Row, specs: &BTreeMap<DagVersionKey, Arc<DagSpec>>) -> Result<DagVersionRow, StoreError> {
    let key = row.try_get("key")?;
    Ok(DagVersionRow {
        key,
        dag_id: row.try_get("dag_id")?,
        version_number: row.try_get("version_number")?,
        component: row.try_get("component")?,
        spec: spec_of(specs, key)?,
        created_at: row.try_get("created_at")?,
    })
}

fn spec_of(specs: &BTreeMap<DagVersionKey, Arc<DagSpec>>, version: DagVersionKey) -> Result<Arc<DagSpec>, StoreError> {
    specs.get(&version).map(Arc::clone).ok_or_else(|| StoreError::corrupt("a dag_version has no spec"))
}

impl Store {
    /// Stores a component and makes its dags' newest versions those of it, in one transaction.
    ///
    /// The same bytes again change nothing. A dag that another component brought is taken over by a new version.
    /// Dags that the component does not carry stay as they are.
    pub async fn deploy(&self, deploy: &Deploy) -> Result<Vec<DeployedDag>, StoreError> {
        let without_dags = ModuleSpec { dags: Vec::new(), ..(*deploy.module).clone() };
        let module = pack(codec::json_text(&without_dags)?.as_bytes())?;
        let provenance = deploy.provenance.as_ref().map(|said| pack(codec::json_text(said)?.as_bytes())).transpose()?;
        let mut dags = Vec::with_capacity(deploy.module.dags.len());
        for spec in &deploy.module.dags {
            let text = codec::json_text(spec)?;
            let hash = Digest(sha2::Sha256::digest(text.as_bytes()).into());
            let dag_id = DagId::new(&spec.dag_id).map_err(StoreError::corrupt)?;
            dags.push((dag_id, spec, hash, pack(text.as_bytes())?));
        }

        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let known: Option<i64> = db::query_scalar(include_str!("sql/component_exists.sql"))
            .bind(deploy.digest)
            .fetch_optional(&mut *transaction)
            .await?;
        db::query(include_str!("sql/component_put.sql"))
            .bind(deploy.digest)
            .bind(deploy.size_bytes)
            .bind(deploy.now)
            .bind(&deploy.uploaded_by)
            .bind(module)
            .bind(&deploy.signer)
            .bind(i64::try_from(dags.len()).unwrap_or(i64::MAX))
            .bind(provenance)
            .execute(&mut *transaction)
            .await?;
        // It may have been about to go.
        let take_back = db::query(include_str!("sql/garbage_take_back.sql")).bind(&deploy.blob);
        take_back.execute(&mut *transaction).await?;
        if !deploy.module.name.is_empty() {
            db::query(include_str!("sql/library_put.sql"))
                .bind(&deploy.module.name)
                .bind(deploy.digest)
                .execute(&mut *transaction)
                .await?;
        }
        let mut deployed = Vec::with_capacity(dags.len());
        for (dag_id, spec, hash, packed) in dags {
            let source = Source { component: deploy.digest, content_hash: hash, packed };
            let paused = spec.paused_upon_creation.unwrap_or(deploy.paused_default);
            deployed.push(put_dag(&mut transaction, dag_id, spec, source, paused, deploy.now).await?);
        }
        if known.is_none() || deployed.iter().any(|dag| dag.changed) {
            Audit::tell(&deploy.digest.to_string(), &Value::Null, &deploy.shown(&deployed));
        }
        transaction.commit().await?;
        Ok(deployed)
    }

    pub async fn dag_get(&self, dag_id: &DagId) -> Result<Option<DagRow>, StoreError> {
        let row = db::query(include_str!("sql/dag_get.sql")).bind(dag_id).fetch_optional(self.readers()).await?;
        Ok(self.dag_rows(row.as_slice()).await?.pop())
    }

    pub async fn dag_list(&self, filter: &DagFilter, page: Page) -> Result<Listed<DagRow>, StoreError> {
        let mut list = Builder::new(include_str!("sql/dag_list.sql"));
        push_filter(&mut list, filter)?;
        let column = match filter.order_by {
            DagOrder::DagId => "d.dag_id",
            DagOrder::DisplayName => DISPLAY_NAME,
            DagOrder::CreatedAt => "d.created_at",
            DagOrder::UpdatedAt => "d.updated_at",
            DagOrder::LastRunState => {
                "(SELECT r.state FROM dag_run AS r WHERE r.dag_id = d.dag_id ORDER BY r.key DESC LIMIT 1)"
            }
            DagOrder::LastRunStartDate => {
                "(SELECT r.start_date FROM dag_run AS r WHERE r.dag_id = d.dag_id ORDER BY r.key DESC LIMIT 1)"
            }
        };
        // Dags without runs have neither.
        let is_nullable = matches!(filter.order_by, DagOrder::LastRunState | DagOrder::LastRunStartDate);
        let order = if is_nullable { filter.order.sql_nullable() } else { filter.order.sql() };
        list.push(" ORDER BY ").push(column).push(order).push(", d.dag_id").push(filter.order.sql());
        push_page(&mut list, page);
        let mut count = counting(include_str!("sql/dag_ids.sql"));
        push_filter(&mut count, filter)?;
        push_count_end(&mut count);
        let (rows, total): (Vec<Row>, _) = tokio::try_join!(
            list.build().fetch_all(self.readers()),
            count.build_query_scalar().fetch_one(self.readers())
        )?;
        Ok(Listed { items: self.dag_rows(&rows).await?, total })
    }

    /// The ids of all dags that the filter leaves.
    pub async fn dag_list_ids(&self, filter: &DagFilter) -> Result<Vec<DagId>, StoreError> {
        let mut list = Builder::new(include_str!("sql/dag_ids.sql"));
        push_filter(&mut list, filter)?;
        Ok(list.build_query_scalar().fetch_all(self.readers()).await?)
    }

    /// What people call these dags; those that are not there are left out.
    pub async fn dag_names(&self, dag_ids: &[DagId]) -> Result<BTreeMap<DagId, String>, StoreError> {
        let query = db::query_as(each!("dag_names")).bind(codec::json(dag_ids)?);
        let names: Vec<(DagId, String)> = query.fetch_all(self.readers()).await?;
        Ok(names.into_iter().collect())
    }

    /// Writes down what people call the dags that were stored when nobody wrote it down.
    pub async fn dag_display_names_fill(&self) -> Result<(), StoreError> {
        loop {
            let unnamed = db::query(include_str!("sql/dag_version_unnamed.sql")).bind(UNNAMED_PAGE);
            let rows = unnamed.fetch_all(self.readers()).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let specs = self.specs(&rows, "version").await?;
            let mut writer = self.writer().await?;
            let mut transaction = writer.begin().await?;
            for (version, spec) in &specs {
                let named = db::query(include_str!("sql/dag_version_name.sql")).bind(version).bind(spec.shown_name());
                named.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
    }

    /// Every dag, for the scheduler's start.
    pub async fn dag_list_all(&self) -> Result<Vec<DagRow>, StoreError> {
        let mut dags: Vec<DagRow> = Vec::new();
        loop {
            let after = dags.last().map_or("", |dag| dag.dag_id.as_str());
            let rows = db::query(include_str!("sql/dag_list_all.sql"))
                .bind(after)
                .bind(MAX_PAGE)
                .fetch_all(self.readers())
                .await?;
            if rows.is_empty() {
                return Ok(dags);
            }
            dags.extend(self.dag_rows(&rows).await?);
        }
    }

    pub async fn dag_version_get(&self, version: DagVersionKey) -> Result<Option<DagVersionRow>, StoreError> {
        let row =
            db::query(include_str!("sql/dag_version_get.sql")).bind(version).fetch_optional(self.readers()).await?;
        Ok(self.dag_version_rows(row.as_slice()).await?.pop())
    }

    /// Version `number` of a dag.
    pub async fn dag_version_numbered(&self, dag_id: &DagId, number: i64) -> Result<Option<DagVersionRow>, StoreError> {
        let row = db::query(include_str!("sql/dag_version_number.sql"))
            .bind(dag_id)
            .bind(number)
            .fetch_optional(self.readers())
            .await?;
        Ok(self.dag_version_rows(row.as_slice()).await?.pop())
    }

    /// Makes version `number` of a dag its newest again, as a version of its own; none if there is no such version.
    pub async fn dag_roll_back(
        &self,
        dag_id: &DagId,
        number: i64,
        now: Timestamp,
    ) -> Result<Option<DeployedDag>, StoreError> {
        let Some(row) = self.dag_version_numbered(dag_id, number).await? else { return Ok(None) };
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let (content_hash, packed) =
            db::query_as(include_str!("sql/dag_version_source.sql")).bind(row.key).fetch_one(&mut *transaction).await?;
        let source = Source { component: row.component, content_hash, packed };
        // The dag is there, and stays as paused as it is.
        let rolled = put_dag(&mut transaction, dag_id.clone(), &row.spec, source, false, now).await?;
        transaction.commit().await?;
        Ok(Some(rolled))
    }

    /// The versions that the filter leaves, the newest first.
    pub async fn dag_version_list(
        &self,
        filter: &DagVersionFilter,
        page: Page,
    ) -> Result<Listed<DagVersionRow>, StoreError> {
        let list = version_list_query(filter, page)?;
        let mut count = counting(include_str!("sql/dag_version_count.sql"));
        push_version_filter(&mut count, filter)?;
        push_count_end(&mut count);
        let (rows, total): (Vec<Row>, _) = tokio::try_join!(
            list.build().fetch_all(self.readers()),
            count.build_query_scalar().fetch_one(self.readers())
        )?;
        Ok(Listed { items: self.dag_version_rows(&rows).await?, total })
    }

    /// Whether the dag is there, and now as it should be.
    pub async fn dag_set_paused(&self, dag_id: &DagId, is_paused: bool, now: Timestamp) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/dag_set_paused.sql")).bind(dag_id).bind(is_paused).bind(now);
        Ok(self.write(query).await? == 1)
    }

    /// The tags of `dags`, each once.
    pub async fn dag_tag_list(
        &self,
        dags: &DagSet,
        like: &Like,
        order: Order,
        page: Page,
    ) -> Result<Listed<String>, StoreError> {
        let sql = include_str!("sql/dag_tag_list.sql");
        let (mut list, mut count) = (Builder::new(sql), counting(sql));
        for builder in [&mut list, &mut count] {
            push_dags(builder, "g.dag_id", dags)?;
            push_like(builder, "g.tag", like)?;
        }
        list.push(" ORDER BY g.tag").push(order.sql());
        push_page(&mut list, page);
        push_count_end(&mut count);
        let (items, total) = tokio::try_join!(
            list.build_query_scalar().fetch_all(self.readers()),
            count.build_query_scalar().fetch_one(self.readers())
        )?;
        Ok(Listed { items, total })
    }

    async fn dag_rows(&self, rows: &[Row]) -> Result<Vec<DagRow>, StoreError> {
        let specs = self.specs(rows, "version").await?;
        rows.iter().map(|row| dag_row(row, &specs)).collect()
    }

    async fn dag_version_rows(&self, rows: &[Row]) -> Result<Vec<DagVersionRow>, StoreError> {
        let specs = self.specs(rows, "key").await?;
        rows.iter().map(|row| dag_version_row(row, &specs)).collect()
    }

    /// The specs of the versions in `column`, from the cache where they are there.
    async fn specs(&self, rows: &[Row], column: &str) -> Result<BTreeMap<DagVersionKey, Arc<DagSpec>>, StoreError> {
        let versions = rows.iter().map(|row| row.try_get(column)).collect::<Result<BTreeSet<DagVersionKey>, _>>()?;
        let mut specs = BTreeMap::new();
        let mut missing = Vec::new();
        for version in versions {
            match self.shared.specs.get(version) {
                Some(spec) => drop(specs.insert(version, spec)),
                None => missing.push(version),
            }
        }
        // Few at a time: a spec may be large.
        for missing in missing.chunks(32) {
            let rows =
                db::query(each!("dag_version_specs")).bind(codec::json(missing)?).fetch_all(self.readers()).await?;
            for row in rows {
                let (spec, json_bytes) = unpack(&row.try_get::<Vec<u8>>("spec")?)?;
                let (version, spec) = (row.try_get("key")?, Arc::new(spec));
                self.shared.specs.put(version, &spec, json_bytes);
                specs.insert(version, spec);
            }
        }
        Ok(specs)
    }
}

/// What a `dag_version` is made of.
struct Source {
    component: Digest,
    content_hash: Digest,
    /// The spec as it is stored.
    packed: Vec<u8>,
}

/// Makes `spec` the newest version of its dag, unless it is. `paused`: whether the dag is, if it is new.
async fn put_dag(
    transaction: &mut Connection,
    dag_id: DagId,
    spec: &DagSpec,
    source: Source,
    paused: bool,
    now: Timestamp,
) -> Result<DeployedDag, StoreError> {
    let current: Option<(DagVersionKey, i64, Digest, Digest)> =
        db::query_as(include_str!("sql/dag_current.sql")).bind(&dag_id).fetch_optional(&mut *transaction).await?;
    let created = current.is_none();
    if let Some((version, version_number, component, content_hash)) = current
        && (component, content_hash) == (source.component, source.content_hash)
    {
        return Ok(DeployedDag { dag_id, version, version_number, created, changed: false });
    }
    let (version, version_number): (DagVersionKey, i64) = db::query_as(include_str!("sql/dag_version_put.sql"))
        .bind(&dag_id)
        .bind(source.component)
        .bind(source.content_hash)
        .bind(now)
        .bind(source.packed)
        .bind(spec.shown_name())
        .fetch_one(&mut *transaction)
        .await?;
    for component in spec.used_components() {
        db::query(include_str!("sql/dag_version_uses_put.sql"))
            .bind(version)
            .bind(component)
            .execute(&mut *transaction)
            .await?;
    }
    db::query(include_str!("sql/dag_put.sql"))
        .bind(&dag_id)
        .bind(paused)
        .bind(version)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    for (clear, put, words) in [
        (include_str!("sql/dag_tag_delete.sql"), include_str!("sql/dag_tag_put.sql"), &spec.tags),
        (include_str!("sql/dag_owner_delete.sql"), include_str!("sql/dag_owner_put.sql"), &spec.owners),
    ] {
        db::query(clear).bind(&dag_id).execute(&mut *transaction).await?;
        for word in words {
            db::query(put).bind(&dag_id).bind(word).execute(&mut *transaction).await?;
        }
    }
    super::asset::put_references(transaction, &dag_id, spec, now).await?;
    Ok(DeployedDag { dag_id, version, version_number, created, changed: true })
}

/// As [`DagSpec::shown_name`].
const DISPLAY_NAME: &str = "coalesce(v.display_name, d.dag_id)";

fn push_last_run(builder: &mut Builder, filter: &LastRunFilter) {
    if *filter == LastRunFilter::default() {
        return;
    }
    builder.push(" AND EXISTS (SELECT 1 FROM (SELECT state, start_date, end_date FROM dag_run");
    builder.push(" WHERE dag_id = d.dag_id ORDER BY key DESC LIMIT 1) AS r WHERE TRUE");
    for states in [filter.state.as_slice(), &filter.states] {
        push_words(builder, "r.state", states.iter().map(|state| state.as_str()));
    }
    push_range(builder, "r.start_date", filter.start_date);
    push_range(builder, "r.end_date", filter.end_date);
    builder.push(")");
}

pub(super) fn version_list_query(filter: &DagVersionFilter, page: Page) -> Result<Builder, StoreError> {
    let mut list = Builder::new(include_str!("sql/dag_version_list.sql"));
    push_version_filter(&mut list, filter)?;
    // Of one dag an index has them in this order.
    let column = if filter.dags.the_one().is_some() { "v.version_number" } else { "v.key" };
    list.push(" ORDER BY ").push(column).push(" DESC");
    push_page(&mut list, page);
    Ok(list)
}

fn push_version_filter(builder: &mut Builder, filter: &DagVersionFilter) -> Result<(), StoreError> {
    if let Some(number) = filter.version_number {
        builder.push(" AND v.version_number = ").push_bind(number);
    }
    if let Some(component) = filter.component {
        builder.push(" AND v.component = ").push_bind(component);
    }
    push_dags(builder, "v.dag_id", &filter.dags)
}

fn push_filter(builder: &mut Builder, filter: &DagFilter) -> Result<(), StoreError> {
    push_any(builder, "d.dag_id", &filter.ids)?;
    push_dags(builder, "d.dag_id", &filter.dags)?;
    push_like(builder, "d.dag_id", &filter.dag_id)?;
    push_like(builder, DISPLAY_NAME, &filter.display_name)?;
    push_either_like(builder, ["d.dag_id", DISPLAY_NAME], &filter.dag_id_or_name)?;
    if let Some(paused) = filter.paused {
        builder.push(" AND d.is_paused = ").push_bind(paused);
    }
    push_last_run(builder, &filter.last_run);
    if let Some(component) = filter.component {
        builder.push(" AND v.component = ").push_bind(component);
    }
    if let Some(on_assets) = filter.on_assets {
        builder.push(if on_assets { " AND EXISTS" } else { " AND NOT EXISTS" });
        builder.push(" (SELECT 1 FROM asset_reference WHERE dag_id = d.dag_id AND kind = 'schedule' LIMIT 1)");
    }
    if filter.asset_like != Like::default() {
        builder.push(" AND EXISTS (SELECT 1 FROM asset_reference AS n JOIN asset AS a ON a.id = n.asset");
        builder.push(" WHERE n.dag_id = d.dag_id AND n.kind = 'schedule'");
        push_either_like(builder, ["a.name", "a.uri"], &filter.asset_like)?;
        builder.push(")");
    }
    if let Some((username, is_favorite)) = &filter.favorite_of {
        builder.push(if *is_favorite { " AND d.dag_id IN" } else { " AND d.dag_id NOT IN" });
        builder.push(" (SELECT dag_id FROM dag_favorite WHERE username = ").push_bind(username.clone()).push(")");
    }
    if !filter.owners.is_empty() {
        builder.push(" AND d.dag_id IN (SELECT dag_id FROM dag_owner WHERE TRUE");
        push_any(builder, "owner", &filter.owners)?;
        builder.push(")");
    }
    let tags: BTreeSet<&String> = filter.tags.iter().collect();
    if !tags.is_empty() {
        let count = i64::try_from(tags.len()).unwrap_or(i64::MAX);
        builder.push(" AND d.dag_id IN (SELECT dag_id FROM dag_tag WHERE TRUE");
        push_any(builder, "tag", &tags.into_iter().collect::<Vec<_>>())?;
        // Counted, not one condition for each: there may be more of them than a statement can hold.
        if filter.tag_match == TagMatch::All {
            builder.push(" GROUP BY dag_id HAVING count(*) = ").push_bind(count);
        }
        builder.push(")");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_someone_holds_is_not_read_again() {
        let cache = SpecCache::default();
        let held = Arc::new(crate::store::tests::spec("a"));
        cache.put(DagVersionKey(1), &held, SPECS_MAX_JSON_BYTES);
        for other in 2..5 {
            cache.put(DagVersionKey(other), &Arc::new(crate::store::tests::spec("b")), SPECS_MAX_JSON_BYTES);
        }
        assert!(cache.get(DagVersionKey(1)).is_some_and(|spec| Arc::ptr_eq(&spec, &held)));
        assert_eq!(cache.get(DagVersionKey(2)), None, "nobody holds it");
        drop(held);
        assert_eq!(cache.get(DagVersionKey(1)), None);
    }
}
