//! What we say and what is there, as one status. Pure. What others said stays as it is, byte for byte.

use serde_json::{Map, Value, json};

/// Condition types that are ours on objects of our controller; all others belong to somebody else.
const OURS: [&str; 8] = [
    "Accepted",
    "AddressesAssigned",
    "Conflicted",
    "DefaultGateway",
    "InsecureFrontendValidationMode",
    "PartiallyInvalid",
    "Programmed",
    "ResolvedRefs",
];

/// As many conditions as an object may have.
const MOST_CONDITIONS: usize = 8;

/// How statuses are signed and dated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen<'a> {
    /// Controller names whose entries are ours.
    pub(super) controllers: [&'a str; 2],
    /// The present time (RFC 3339, in whole seconds).
    pub(super) now: &'a str,
}

/// The status on the server judged a later generation than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer;

impl Pen<'_> {
    /// The status with our part in it. It is equal to `live` when there is nothing to write.
    ///
    /// # Errors
    /// When a later generation was judged already: then nothing must be written.
    pub(super) fn merge(&self, live: &Value, ours: &Value) -> Result<Value, Newer> {
        let mut status = live.as_object().cloned().unwrap_or_default();
        let ours = ours.as_object().cloned().unwrap_or_default();
        if ours.contains_key("listeners") && !ours.contains_key("addresses") {
            status.remove("addresses");
        }
        for (field, value) in ours {
            let there = status.get(&field).unwrap_or(&Value::Null);
            let merged = match field.as_str() {
                "ancestors" => self.entries(there, &value, 16)?,
                "conditions" => self.conditions(there, &value)?,
                "listeners" => self.listeners(there, &value)?,
                "parents" => self.entries(there, &value, 32)?,
                _ => value,
            };
            // An empty list beside none at all is nothing to write.
            if !(there.is_null() && merged.as_array().is_some_and(Vec::is_empty)) {
                status.insert(field, merged);
            }
        }
        Ok(if live.is_null() && status.is_empty() { Value::Null } else { Value::Object(status) })
    }

    /// Whether some entry of a list is ours.
    pub(super) fn signed(&self, list: &Value) -> bool {
        items(list).iter().any(|entry| self.is_ours(entry))
    }

    fn is_ours(&self, entry: &Value) -> bool {
        entry["controllerName"].as_str().is_some_and(|name| self.controllers.contains(&name))
    }

    fn conditions(&self, live: &Value, ours: &Value) -> Result<Value, Newer> {
        let ours = items(ours);
        let find = |kind: &Value| ours.iter().find(|condition| condition["type"] == *kind);
        let mut merged = Vec::new();
        for there in items(live) {
            match find(&there["type"]) {
                Some(condition) => merged.push(self.condition(there, condition)?),
                None if OURS.iter().any(|kind| there["type"] == *kind) => {}
                None => merged.push(there.clone()),
            }
        }
        for condition in ours {
            let is_there = merged.iter().any(|there| there["type"] == condition["type"]);
            if !is_there && merged.len() < MOST_CONDITIONS {
                merged.push(self.condition(&Value::Null, condition)?);
            }
        }
        Ok(Value::Array(merged))
    }

    /// One condition. Its time is that of the last change of its status.
    fn condition(&self, live: &Value, ours: &Value) -> Result<Value, Newer> {
        let generation = |condition: &Value| condition["observedGeneration"].as_i64();
        if let (Some(there), Some(judged)) = (generation(live), generation(ours))
            && there > judged
        {
            return Err(Newer);
        }
        let status = if ours["status"] == true { "True" } else { "False" };
        let unchanged = live["status"] == status;
        let time = live["lastTransitionTime"].as_str().filter(|_| unchanged).unwrap_or(self.now);
        let mut condition = json!({
            "type": ours["type"],
            "status": status,
            "reason": ours["reason"],
            "message": ours["message"].as_str().unwrap_or_default(),
            "lastTransitionTime": time,
        });
        if let Some(generation) = generation(ours) {
            condition["observedGeneration"] = json!(generation);
        }
        Ok(condition)
    }

    /// Entries by listener name: one for each of ours, none for listeners that are gone.
    fn listeners(&self, live: &Value, ours: &Value) -> Result<Value, Newer> {
        let merge = |listener: &Value| {
            let there = items(live).iter().find(|there| there["name"] == listener["name"]);
            let mut entry = there.and_then(Value::as_object).cloned().unwrap_or_default();
            let conditions = entry.remove("conditions").unwrap_or_default();
            overwrite(&mut entry, listener);
            entry.insert("conditions".to_owned(), self.conditions(&conditions, &listener["conditions"])?);
            Ok(Value::Object(entry))
        };
        items(ours).iter().map(merge).collect()
    }

    /// Entries by parent or ancestor: ours follow what we say, those of others stay where they are.
    fn entries(&self, live: &Value, ours: &Value, most: usize) -> Result<Value, Newer> {
        let ours = items(ours);
        let same = |one: &Value, other: &Value| {
            let reference = |entry: &Value| [entry["parentRef"].clone(), entry["ancestorRef"].clone()];
            one["controllerName"] == other["controllerName"] && reference(one) == reference(other)
        };
        let mut merged: Vec<Value> = Vec::new();
        for there in items(live) {
            if !self.is_ours(there) {
                merged.push(there.clone());
            } else if let Some(entry) = ours.iter().find(|entry| same(entry, there))
                && !merged.iter().any(|done| same(done, entry))
            {
                merged.push(self.entry(there, entry)?);
            }
        }
        for entry in ours {
            if merged.len() < most && !merged.iter().any(|done| same(done, entry)) {
                merged.push(self.entry(&Value::Null, entry)?);
            }
        }
        Ok(Value::Array(merged))
    }

    fn entry(&self, live: &Value, ours: &Value) -> Result<Value, Newer> {
        let mut entry = live.as_object().cloned().unwrap_or_default();
        overwrite(&mut entry, ours);
        let conditions = self.conditions(&live["conditions"], &ours["conditions"])?;
        entry.insert("conditions".to_owned(), conditions);
        Ok(Value::Object(entry))
    }
}

fn overwrite(entry: &mut Map<String, Value>, ours: &Value) {
    if let Some(ours) = ours.as_object() {
        entry.extend(ours.iter().map(|(field, value)| (field.clone(), value.clone())));
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
