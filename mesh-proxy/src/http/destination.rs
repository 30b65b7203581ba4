//! Where a request went, as labels of its record.

use std::sync::Arc;

/// Where a request went: workload, namespace and service, as labels.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) namespace: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) workload: Option<Arc<str>>,
}

/// Whether two destinations are surely the same; another copy of the same names may pass for another one.
pub(super) fn same(a: Option<&Destination>, b: Option<&Destination>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let workloads = match (&a.workload, &b.workload) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            };
            workloads && Arc::ptr_eq(&a.service, &b.service) && Arc::ptr_eq(&a.namespace, &b.namespace)
        }
        _ => false,
    }
}
