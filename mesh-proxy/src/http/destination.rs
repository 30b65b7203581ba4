//! Where a request went, as labels of its record.

use std::rc::Rc;
use std::sync::Arc;

/// A service's names as labels, made once in a worker.
#[derive(Debug)]
pub(super) struct ServiceLabels {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

/// Where a request went: workload, namespace and service, as labels.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) service: Rc<ServiceLabels>,
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
            workloads && Rc::ptr_eq(&a.service, &b.service)
        }
        _ => false,
    }
}
