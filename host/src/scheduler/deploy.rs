//! An upload, from bytes to active dags: all of it, or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Change, DeployError, Deployed, GrantsDifference, RequestError, Scheduler};
use crate::{
    blobs::keys,
    executor::Described,
    model::{
        asset::{self, DagAssets},
        dag::{Catalog, Dag, check_entries},
        dag_access::Uploader,
        grants::Decisions,
        ids::{AssetName, ComponentName, DagId, Digest},
        role::Permission,
        spec::{AssetSpec, ComponentKind, DagSpec, ModuleSpec},
        yaml::{self, DagFile, Libraries},
    },
    store::{AssetRow, ComponentRow, Deploy, DeployedDag},
};

impl Scheduler {
    /// Makes the dags of a component, or of a text in YAML, active: they are when this returns.
    ///
    /// The same bytes again change nothing. Order of effects: the code is checked and compiled, the dags are validated,
    /// the blob is written, the rows are committed, the loop is told.
    ///
    /// # Errors
    /// If it is not signed as it must be, is neither a component of our world nor YAML, its dags are wrong or not the uploader's, too many
    /// of the uploader's wait, or it can't be stored; then nothing has changed.
    pub async fn deploy(&self, bytes: Bytes, signature: Option<&str>, by: &Uploader) -> Result<Deployed, DeployError> {
        let signer = self.config.signers.check(&bytes, signature)?;
        let _turn = self.intake.turn(&by.username).await?;
        let digest = Digest(Sha256::digest(&bytes).into());
        let known = self.store.component_get(digest).await?;
        let (module, provenance) = if is_wasm(&bytes) {
            if let Some(row) = &known
                // What was uploaded before it was read is read now.
                && self.store.component_provenance(digest).await?.is_some()
                && (signer.is_none() || row.signer == signer)
                && let Some(dags) = self.all_current(row).await?
            {
                let dag_ids: Vec<_> = dags.iter().map(|dag| dag.dag_id.clone()).collect();
                let before = self.specs(&dag_ids).await?;
                self.check_uploader(by, &row.module.name, before.iter().map(|(id, spec)| (id, &**spec)), &before)
                    .await?;
                let specs = before.iter().map(|(dag_id, spec)| (dag_id.clone(), spec.as_ref())).collect();
                let grants = self.grants_differences(&before, specs).await?;
                return Ok(Deployed { digest, created: false, entries: entry_names(&row.module), dags, grants });
            }
            let Described { module, provenance } = self.executor.compile(bytes.clone()).await?;
            check_dags(&module)?;
            (module, Some(provenance))
        } else {
            (self.read_yaml(bytes.clone(), by).await?, None)
        };
        let checked_at = *self.deployed.lock().await;
        let mut before = self.check_module(by, &module).await?;
        let size_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let blob = keys::component(&digest, module.kind);
        let in_flight = self.uploads.read().await;
        self.blobs.put(&blob, bytes).await?;
        let deploy = Deploy {
            module: Arc::new(module),
            digest,
            blob,
            size_bytes,
            uploaded_by: by.username.clone(),
            signer,
            provenance,
            paused_default: self.config.dags_paused_at_creation,
            now: self.clock.now(),
        };
        let dags = {
            let mut deployed = self.deployed.lock().await;
            if *deployed != checked_at {
                before = self.check_module(by, &deploy.module).await?;
            }
            *deployed += 1;
            self.store.deploy(&deploy).await?
        };
        drop(in_flight);
        let changed: Vec<_> = dags.iter().filter(|dag| dag.changed).map(|dag| dag.dag_id.clone()).collect();
        self.reload_dags(changed.clone()).await.map_err(|_| DeployError::Stopped)?;
        self.publish(changed.into_iter().map(|dag_id| Change::Dag { dag_id }).collect());
        let grants = self.grants_differences(&before, named(&deploy.module.dags)).await?;
        Ok(Deployed { digest, created: known.is_none(), entries: entry_names(&deploy.module), dags, grants })
    }

    /// Whether the dags of `module` may come as they are beside those of today. Answers what they were before.
    async fn check_module(
        &self,
        by: &Uploader,
        module: &ModuleSpec,
    ) -> Result<BTreeMap<DagId, Arc<DagSpec>>, DeployError> {
        let specs = named(&module.dags);
        let dag_ids: Vec<_> = specs.keys().cloned().collect();
        let before = self.specs(&dag_ids).await?;
        self.check_uploader(by, &module.name, specs.iter().map(|(id, spec)| (id, *spec)), &before).await?;
        self.check_assets(&module.dags).await?;
        self.check_assets_of_others(by, &module.dags).await?;
        Ok(before)
    }

    /// Whether whatever is uploaded has to be signed.
    pub fn asks_for_signatures(&self) -> bool {
        self.config.signers.ask()
    }

    /// Whoever may not upload everything brings dags that are theirs, by what they were `before` and by what they become, and
    /// takes no name from a component of others.
    async fn check_uploader(
        &self,
        by: &Uploader,
        name: &str,
        dags: impl Iterator<Item = (&DagId, &DagSpec)>,
        before: &BTreeMap<DagId, Arc<DagSpec>>,
    ) -> Result<(), DeployError> {
        if !by.is_limited() {
            return Ok(());
        }
        let is_theirs = |dag_id: &DagId, spec: &DagSpec| by.access.may(Permission::DagUpload, dag_id, &spec.tags);
        let mut has_dags = false;
        for (dag_id, spec) in dags {
            has_dags = true;
            if !is_theirs(dag_id, spec) || before.get(dag_id).is_some_and(|old| !is_theirs(dag_id, old)) {
                return Err(DeployError::NotTheirs(dag_id.clone()));
            }
        }
        if !has_dags {
            return Err(DeployError::LibraryOfAll);
        }
        if let Some(other) = self.store.component_named(name).await? {
            for (dag_id, spec) in self.specs(&other.dag_ids).await? {
                if !is_theirs(&dag_id, &spec) {
                    return Err(DeployError::NameOfOthers(name.to_owned()));
                }
            }
            if other.dag_ids.is_empty() {
                return Err(DeployError::NameOfOthers(name.to_owned()));
            }
        }
        Ok(())
    }

    /// What a dag says of an asset (uri, group, extra, alias) counts for all that name it. So whoever may not upload everything says
    /// of one that dags of others name what is said of it already.
    async fn check_assets_of_others<D: std::borrow::Borrow<DagSpec>>(
        &self,
        by: &Uploader,
        specs: &[D],
    ) -> Result<(), DeployError> {
        let mut said: Vec<&AssetSpec> = specs.iter().map(D::borrow).flat_map(|spec| &spec.assets).collect();
        if !by.is_limited() || said.is_empty() {
            return Ok(());
        }
        let mut of_others = BTreeSet::new();
        for row in self.store.dag_list_all().await? {
            if !by.access.may(Permission::DagUpload, &row.dag_id, &row.spec.tags) {
                of_others.extend(row.spec.assets.iter().map(|asset| asset.name.clone()));
            }
        }
        said.retain(|asset| of_others.contains(&asset.name));
        for asset in said {
            // Checked before.
            let Ok(name) = AssetName::new(&asset.name) else { continue };
            let known = self.store.asset_get_by_name(&name).await?;
            if known.is_some_and(|known| !says_the_same(asset, &known)) {
                return Err(DeployError::AssetOfOthers(asset.name.clone()));
            }
        }
        Ok(())
    }

    /// The newest versions of those of the dags that are there.
    async fn specs(&self, dag_ids: &[DagId]) -> Result<BTreeMap<DagId, Arc<DagSpec>>, DeployError> {
        let mut specs = BTreeMap::new();
        for dag_id in dag_ids {
            if let Some(dag) = self.store.dag_get(dag_id).await? {
                specs.insert(dag.dag_id, dag.spec);
            }
        }
        Ok(specs)
    }

    /// What each of `specs` asks to reach that it did not `before`, and what of it waits.
    async fn grants_differences(
        &self,
        before: &BTreeMap<DagId, Arc<DagSpec>>,
        specs: BTreeMap<DagId, &DagSpec>,
    ) -> Result<BTreeMap<DagId, GrantsDifference>, DeployError> {
        let dag_ids: Vec<_> = specs.keys().cloned().collect();
        let decisions = self.store.dag_decisions(&dag_ids).await?;
        let none = Decisions::default();
        let differences = specs.into_iter().map(|(dag_id, spec)| {
            let old = before.get(&dag_id).map(Arc::as_ref);
            let difference = self.grants_difference(old, spec, decisions.get(&dag_id).unwrap_or(&none));
            (dag_id, difference)
        });
        Ok(differences.collect())
    }

    /// Makes an earlier version of a dag its newest again, as a version of its own. Runs keep theirs.
    ///
    /// # Errors
    /// If there is no such version, it is the newest, together with other dags of today it would start itself for ever
    /// by assets, or it says something else of assets that are not only of dags of `by`.
    pub async fn dag_roll_back(
        &self,
        dag_id: &DagId,
        version_number: i64,
        by: &Uploader,
    ) -> Result<DeployedDag, RequestError> {
        let missing = || RequestError::NotFound(format!("dag `{dag_id}` has no version {version_number}"));
        let row = self.store.dag_version_numbered(dag_id, version_number).await?.ok_or_else(missing)?;
        let refused = |error: DeployError| match error {
            DeployError::Store(error) => RequestError::from(error),
            DeployError::AssetOfOthers(_) => RequestError::Forbidden(error.to_string()),
            other => RequestError::Conflict(other.to_string()),
        };
        let spec = std::slice::from_ref(&row.spec);
        let mut deployed = self.deployed.lock().await;
        self.check_assets(spec).await.map_err(refused)?;
        self.check_assets_of_others(by, spec).await.map_err(refused)?;
        *deployed += 1;
        let rolled = self.store.dag_roll_back(dag_id, version_number, self.clock.now()).await?.ok_or_else(missing)?;
        drop(deployed);
        if !rolled.changed {
            let number = rolled.version_number;
            return Err(RequestError::Conflict(format!(
                "version {version_number} of dag `{dag_id}` is what its newest version, {number}, is"
            )));
        }
        self.reload_dags(vec![dag_id.clone()]).await?;
        self.publish(vec![Change::Dag { dag_id: dag_id.clone() }]);
        Ok(rolled)
    }

    /// Reads the dags of a text and finds the components that they use, as they are now. One that the uploader does not see
    /// is none: neither is it told of, nor is its code used.
    async fn read_yaml(&self, bytes: Bytes, by: &Uploader) -> Result<ModuleSpec, DeployError> {
        let files = off_the_loop(move || parse_yaml(&bytes)).await?;
        let names: BTreeSet<_> = files.iter().flat_map(DagFile::libraries).collect();
        let mut libraries = Libraries::new();
        for name in names {
            if let Some(row) = self.store.component_named(name).await?
                && self.sees_component(by, &row).await?
            {
                libraries.insert(name.to_owned(), (row.digest, row.module));
            }
        }
        off_the_loop(move || {
            let catalog = libraries
                .values()
                .fold(Catalog::default(), |catalog, (digest, module)| catalog.with(*digest, &module.entries));
            let mut dags = Vec::with_capacity(files.len());
            for file in &files {
                let spec = file.to_spec(&libraries)?;
                Dag::from_new_spec(&spec, &catalog).map_err(|error| file.locate(&error))?;
                dags.push(spec);
            }
            refuse_duplicates(&dags)?;
            Ok(ModuleSpec { kind: ComponentKind::Yaml, sdk: "YAML".to_owned(), dags, ..ModuleSpec::default() })
        })
        .await
    }

    /// Whether the uploader sees the component: it brought no dag, or one that may be seen.
    async fn sees_component(&self, by: &Uploader, row: &ComponentRow) -> Result<bool, DeployError> {
        if by.access.general().may(Permission::Read) || row.dag_ids.is_empty() {
            return Ok(true);
        }
        let dags = self.specs(&row.dag_ids).await?;
        Ok(dags.iter().any(|(dag_id, spec)| by.access.may(Permission::Read, dag_id, &spec.tags)))
    }

    /// Dags that start each other for ever by their assets are refused, whichever component the others came with.
    async fn check_assets<D: std::borrow::Borrow<DagSpec>>(&self, specs: &[D]) -> Result<(), DeployError> {
        if specs.iter().map(D::borrow).all(|spec| spec.assets.is_empty()) {
            return Ok(());
        }
        let mut dags: BTreeMap<DagId, DagAssets> = BTreeMap::new();
        for row in self.store.dag_list_all().await? {
            dags.insert(row.dag_id.clone(), DagAssets::of(&row.dag_id, &row.spec));
        }
        let mut changed = BTreeSet::new();
        for spec in specs.iter().map(D::borrow) {
            // Checked before.
            let Ok(dag_id) = DagId::new(&spec.dag_id) else { continue };
            dags.insert(dag_id.clone(), DagAssets::of(&dag_id, spec));
            changed.insert(dag_id);
        }
        let dags: Vec<_> = dags.into_values().collect();
        asset::find_cycle(&dags, &changed).map_or(Ok(()), |circle| Err(DeployError::AssetCycle(circle)))
    }

    /// The dags of a component that was uploaded before, if it is still the one of its name, none was deleted and each runs what
    /// it brought: then there is nothing to do.
    async fn all_current(&self, component: &ComponentRow) -> Result<Option<Vec<DeployedDag>>, DeployError> {
        let library = self.store.component_named(&component.module.name).await?;
        if !component.has_all_dags || library.is_none_or(|library| library.digest != component.digest) {
            return Ok(None);
        }
        let mut dags = Vec::with_capacity(component.dag_ids.len());
        for dag_id in &component.dag_ids {
            match self.store.dag_get(dag_id).await? {
                Some(dag) if dag.component == component.digest => dags.push(DeployedDag {
                    dag_id: dag.dag_id,
                    version: dag.version,
                    version_number: dag.version_number,
                    created: false,
                    changed: false,
                }),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(dags))
    }
}

/// Whether `asset` says what is `known` of it.
fn says_the_same(asset: &AssetSpec, known: &AssetRow) -> bool {
    let read = |extra: &str| serde_json::from_str::<serde_json::Value>(extra).ok();
    asset.uri == known.uri
        && asset.group == known.group
        && asset.is_alias == known.is_alias
        && read(asset.extra.as_deref().unwrap_or("{}")) == read(&known.extra)
}

/// Dags by their ids, which were checked before.
fn named(specs: &[DagSpec]) -> BTreeMap<DagId, &DagSpec> {
    specs.iter().filter_map(|spec| Some((DagId::new(&spec.dag_id).ok()?, spec))).collect()
}

fn entry_names(module: &ModuleSpec) -> Vec<String> {
    module.entries.iter().map(|entry| entry.name.clone()).collect()
}

/// As every WebAssembly binary begins.
fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

fn parse_yaml(bytes: &[u8]) -> Result<Vec<DagFile>, DeployError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(yaml::parse(text)?),
        Ok(_) | Err(_) => Err(DeployError::Unknown),
    }
}

fn check_dags(module: &ModuleSpec) -> Result<(), DeployError> {
    ComponentName::new(&module.name)?;
    check_entries(&module.entries).map_err(DeployError::Entry)?;
    refuse_duplicates(&module.dags)?;
    let catalog = Catalog::new(&module.entries);
    for spec in &module.dags {
        Dag::from_new_spec(spec, &catalog)?;
    }
    Ok(())
}

fn refuse_duplicates(dags: &[DagSpec]) -> Result<(), DeployError> {
    let mut ids = BTreeSet::new();
    match dags.iter().find(|spec| !ids.insert(&spec.dag_id)) {
        Some(spec) => Err(DeployError::Duplicate(spec.dag_id.clone())),
        None => Ok(()),
    }
}

/// Reading a large text takes a while; others must not wait for it.
async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeployError> + Send + 'static,
) -> Result<T, DeployError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(DeployError::Stopped),
    }
}
