# Raw disks of Cloud Hypervisor, in Rust: compiled and tested against a stand-in
# of its crate `block`, with the other crates (make check-rust).

.PHONY: cloud-hypervisor check-cloud-hypervisor
## cloud-hypervisor: the adapter for Cloud Hypervisor's raw disks
cloud-hypervisor:
	$(CARGO) build --locked -p blkalign-cloud-hypervisor \
	    --target-dir $(TARGET)

## check-cloud-hypervisor: it, with Cloud Hypervisor's source in SOURCE
check-cloud-hypervisor:
	integrations/cloud-hypervisor/check $(SOURCE)
