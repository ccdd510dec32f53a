//! `rdma.max`: cgroup-v1/rdma and cgroup-v2 of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// The same file in both versions: one line for each device.
pub(in crate::cgroups) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_unstable_by_key(|(name, _)| *name);
    let settings = devices.into_iter().map(|(name, limits)| {
        let mut line = name.clone();
        for (what, limit) in
            [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())]
        {
            if let Some(limit) = limit {
                line += &format!(" {what}={limit}");
            }
        }
        Setting::new(format!("rdma.{name}"), "rdma.max", line)
    });
    Ok(settings.collect())
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let rdma = json!({
            "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000},
            "mlx4_0": {"hcaObjects": 0}});
        let want = "rdma.max=mlx4_0 hca_object=0 \
                    rdma.max=mlx5_1 hca_handle=3 hca_object=10000";
        check(super::settings, [(json!({}), Ok("")), (json!({"rdma": rdma}), Ok(want))]);
    }
}
