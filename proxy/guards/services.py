"""Names of programs that a machine and its protection depend on; stopping them is more than stopping one's own work."""

from __future__ import annotations

_SECURITY = (
    "sshd ssh auditd auditbeat apparmor selinux firewalld ufw iptables nftables fail2ban ossec wazuh wazuh-agent falcon-sensor falcond"
    " crowdstrike"
    " clamav clamd clamav-daemon osqueryd sysmon sentinelone mdatp defender falco snort suricata tripwire aide rkhunter crowdsec rsyslog"
    " rsyslogd"
    " syslog syslogd syslog-ng journald systemd-journald filebeat auditctl sssd polkitd usbguard fapolicyd little-snitch santa sophos"
    " esets carbonblack"
    " cbdaemon cylance windefend mpssvc eventlog wscsvc antivirus edr sudo pam gatekeeper vault"
).split()
_SYSTEM = (
    "init systemd launchd upstart systemd-logind systemd-udevd udevd dbus dbus-daemon cron crond atd anacron networkmanager network"
    " networking"
    " systemd-networkd systemd-resolved wpa_supplicant dhclient dhcpcd resolvconf docker dockerd containerd containerd-shim docker-proxy"
    " docker-containerd docker-containerd-shim runc podman crio kubelet kube-proxy kube-apiserver etcd libvirtd lxd xorg xwayland"
    " wayland gdm gdm3"
    " lightdm sddm kdm gnome-shell cups cupsd bluetoothd bluetooth avahi-daemon ntpd ntp chronyd chrony systemd-timesyncd agetty login"
    " getty"
    " multipathd iscsid lvmetad acpid irqbalance thermald udisksd upowerd snapd accounts-daemon rpcbind nfsd smbd nmbd winbindd slapd"
    " named bind9"
    " dnsmasq unbound postfix sendmail dovecot exim4 xinetd inetd haproxy keepalived qemu-system-x86_64 gpg-agent ssh-agent modemmanager"
    " colord"
    " explorer svchost lsass csrss winlogon services kthreadd"
).split()
_SERVICE = (
    "nginx apache apache2 httpd lighttpd caddy tomcat php-fpm mysql mysqld mariadb mariadbd postgres postgresql postmaster redis"
    " redis-server mongod"
    " mongodb mongos memcached elasticsearch opensearch cassandra influxd rabbitmq rabbitmq-server kafka zookeeper nats-server minio"
    " consul nomad"
    " prometheus grafana-server jenkins gitlab-runner oracle sqlservr clickhouse-server vsftpd proftpd squid varnishd openvpn wireguard"
    " strongswan"
).split()

SECURITY = frozenset(_SECURITY)
SYSTEM = frozenset(_SYSTEM)
SERVICE = frozenset(_SERVICE)


def kind(name: str) -> str:
    """Return `security`, `system` or `service` for what a machine depends on, and nothing for other programs."""
    plain = name.strip("[]^$*. ").rsplit("/", 1)[-1].removesuffix(".service").removesuffix(".exe").lower().strip("^$*\"'")
    for word, names in (("security", SECURITY), ("system", SYSTEM), ("service", SERVICE)):
        if plain in names:
            return word
    return ""
