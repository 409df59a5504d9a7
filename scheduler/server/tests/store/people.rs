//! Tenants, tokens, the catalogue, secrets.

use davit_scheduler::store::*;
use davit_types::Tenant;
use uuid::Uuid;

use crate::world::{NOW_MS, World, cases, only};

cases![
    tenants_are_listed_by_name,
    tokens_are_found_by_hash_until_revoked,
    entries_are_changed_by_compare_and_set,
    names_are_unique_within_kind_and_tenant,
    secrets_have_versions_and_are_rewrapped,
    secrets_of_many_owners_are_read_together,
];

async fn tenants_are_listed_by_name(world: World) {
    world.tenant("beta", Some(5)).await;
    let first = only(world.store.tenants(None, 1).await.unwrap());
    assert_eq!(first.tenant.as_str(), "acme");
    let second = world.store.tenants(Some(first.tenant), 9).await.unwrap();
    assert_eq!(only(second).spend_cap_micros, Some(5));
}

async fn tokens_are_found_by_hash_until_revoked(world: World) {
    let token = Token {
        id: Uuid::now_v7(),
        tenant: world.tenant.clone(),
        name: "ci".to_owned(),
        prefix: "dav_abcd".to_owned(),
        hash: [7; 32],
        scopes: "[\"runs\"]".to_owned(),
        created_ms: NOW_MS,
        expires_ms: Some(NOW_MS + 10),
        revoked_ms: None,
    };
    let add = |token: &Token| world.store.add_token(token.clone(), "operator".to_owned());
    assert_eq!(add(&token).await.unwrap(), Ok(Done::Applied));
    assert_eq!(add(&token).await.unwrap(), Ok(Done::Duplicate));
    let same_hash = Token {
        id: Uuid::now_v7(),
        ..token.clone()
    };
    assert!(add(&same_hash).await.unwrap().is_err());
    let found = world.store.token_by_hash([7; 32]).await.unwrap().unwrap();
    assert_eq!(found, token);
    assert!(found.is_live(NOW_MS + 9) && !found.is_live(NOW_MS + 10));
    assert_eq!(world.store.token_by_hash([8; 32]).await.unwrap(), None);
    let revoke = |tenant: &str| {
        let actor = "operator".to_owned();
        world
            .store
            .revoke_token(tenant.parse().unwrap(), token.id, actor, NOW_MS + 1)
    };
    assert!(!revoke("other").await.unwrap(), "another tenant's token");
    assert!(revoke("acme").await.unwrap());
    assert!(!revoke("acme").await.unwrap());
    let listed = world
        .store
        .tokens(world.tenant.clone(), None, 10)
        .await
        .unwrap();
    let revoked = only(listed);
    assert_eq!(revoked.revoked_ms, Some(NOW_MS + 1));
    assert!(!revoked.is_live(NOW_MS));
}

fn put(world: &World, id: Uuid, revision: u64, name: &str) -> CatalogPut {
    CatalogPut {
        key: CatalogKey {
            kind: CatalogKind::Registry,
            tenant: Some(world.tenant.clone()),
            id,
        },
        revision,
        name: name.to_owned(),
        body: format!("{{\"name\":\"{name}\"}}"),
        runs_max: None,
        actor: "token 1".to_owned(),
        at_ms: NOW_MS + revision,
    }
}

async fn entries_are_changed_by_compare_and_set(world: World) {
    let id = Uuid::now_v7();
    let made = put(&world, id, 0, "one");
    let send = |put: &CatalogPut| world.store.put_entry(put.clone());
    assert_eq!(send(&made).await.unwrap(), Ok(Done::Applied));
    assert_eq!(send(&made).await.unwrap(), Ok(Done::Duplicate));
    let changed = put(&world, id, 1, "uno");
    assert_eq!(send(&changed).await.unwrap(), Ok(Done::Applied));
    let late = put(&world, id, 1, "eins");
    let stale = Refusal::Revision {
        given: 1,
        current: 2,
    };
    assert_eq!(send(&late).await.unwrap(), Err(stale));
    let entry = world.store.entry(made.key.clone()).await.unwrap().unwrap();
    assert_eq!((entry.name.as_str(), entry.revision), ("uno", 2));
    assert_eq!((entry.created_ms, entry.updated_ms), (NOW_MS, NOW_MS + 1));
    let kind = CatalogKind::Registry;
    let tenant = Some(world.tenant.clone());
    let named = world
        .store
        .entry_by_name(kind, tenant.clone(), "uno".to_owned())
        .await;
    assert_eq!(named.unwrap(), Some(entry.clone()));
    let listed = world.store.entries(kind, tenant, None, 10).await.unwrap();
    assert_eq!(listed, [entry]);
    let remove = || {
        world
            .store
            .remove_entry(made.key.clone(), "token 1".to_owned(), NOW_MS)
    };
    assert!(remove().await.unwrap());
    assert!(!remove().await.unwrap());
    assert_eq!(world.store.entry(made.key.clone()).await.unwrap(), None);
}

async fn names_are_unique_within_kind_and_tenant(world: World) {
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let send = |put: CatalogPut| world.store.put_entry(put);
    send(put(&world, first, 0, "one")).await.unwrap().unwrap();
    let taken = Refusal::NameTaken {
        name: "one".to_owned(),
    };
    let refused = send(put(&world, second, 0, "one")).await.unwrap();
    assert_eq!(refused, Err(taken.clone()));
    send(put(&world, second, 0, "two")).await.unwrap().unwrap();
    let refused = send(put(&world, second, 1, "one")).await.unwrap();
    assert_eq!(refused, Err(taken));
    let mut other_kind = put(&world, Uuid::now_v7(), 0, "one");
    other_kind.key.kind = CatalogKind::Principal;
    send(other_kind).await.unwrap().unwrap();
    let mut operators = put(&world, Uuid::now_v7(), 0, "one");
    operators.key.tenant = None;
    let key = operators.key.clone();
    send(operators).await.unwrap().unwrap();
    let entry = world.store.entry(key).await.unwrap().unwrap();
    assert_eq!(entry.key.tenant, None);
}

/// The owner of all secrets here.
const OWNER: Uuid = Uuid::from_u128(5);

fn secret(world: &World, version: u64, key_id: &str) -> Secret {
    Secret {
        key: SecretKey {
            tenant: world.tenant.clone(),
            owner: OWNER,
            name: "TOKEN".to_owned(),
        },
        version,
        sealed: Sealed {
            key_id: key_id.to_owned(),
            wrapped_key: vec![1, 2],
            ciphertext: vec![version.to_le_bytes()[0], 0, 255],
        },
    }
}

async fn secrets_have_versions_and_are_rewrapped(world: World) {
    let store = &world.store;
    let secret = |version, key_id| secret(&world, version, key_id);
    let actor = || "token 1".to_owned();
    let put = async |s: Secret| only(store.put_secrets(vec![s], actor(), NOW_MS).await.unwrap());
    let rewrap = async |s: Secret| {
        only(
            store
                .rewrap_secrets(vec![s], actor(), NOW_MS)
                .await
                .unwrap(),
        )
    };
    let not_under_k2 = async || store.secrets_not_under("k2".to_owned(), 10).await.unwrap();
    let stale = |given, current| Err(Refusal::Revision { given, current });
    assert_eq!(put(secret(2, "k1")).await, stale(1, 0));
    assert_eq!(put(secret(1, "k1")).await, Ok(Done::Applied));
    assert_eq!(put(secret(1, "k1")).await, Ok(Done::Duplicate));
    assert_eq!(put(secret(2, "k1")).await, Ok(Done::Applied));
    let late = rewrap(secret(1, "k2")).await;
    assert_eq!(late, stale(1, 2), "a newer value stays");
    assert_eq!(not_under_k2().await, [secret(2, "k1")]);
    assert_eq!(rewrap(secret(2, "k2")).await, Ok(Done::Applied));
    assert_eq!(not_under_k2().await, []);
    let kept = store.secrets(world.tenant.clone(), OWNER).await.unwrap();
    assert_eq!(kept, [secret(2, "k2")]);
    let other = store.secrets("other".parse().unwrap(), OWNER).await;
    assert_eq!(other.unwrap(), []);
    let remove = async || {
        let key = secret(1, "").key;
        store.remove_secret(key, actor(), NOW_MS).await.unwrap()
    };
    assert!(remove().await);
    assert!(!remove().await);
}

async fn secrets_of_many_owners_are_read_together(world: World) {
    let beta = world.tenant("beta", None).await;
    let owner = |number| Uuid::from_u128(number);
    let secret = |tenant: &Tenant, number, name: &str| {
        let mut secret = secret(&world, 1, "k1");
        secret.key.tenant = tenant.clone();
        secret.key.owner = owner(number);
        secret.key.name = name.to_owned();
        secret
    };
    let acme = world.tenant.clone();
    let all = vec![
        secret(&acme, 1, "B"),
        secret(&acme, 1, "A"),
        secret(&acme, 2, "A"),
        secret(&acme, 3, "A"),
        secret(&beta, 2, "A"),
    ];
    let put = world
        .store
        .put_secrets(all.clone(), "token 1".to_owned(), NOW_MS);
    put.await.unwrap();
    let asked = [(&acme, 1), (&acme, 2), (&beta, 1), (&acme, 9)];
    let asked = asked.map(|(tenant, number)| (tenant.clone(), owner(number)));
    let mut found = world.store.secrets_of(asked.to_vec()).await.unwrap();
    // Stable: those of one owner stay in order of their names.
    found.sort_by_key(|secret| secret.key.owner);
    assert_eq!(found, [all[1].clone(), all[0].clone(), all[2].clone()]);
    assert_eq!(world.store.secrets_of(vec![]).await.unwrap(), []);
}
