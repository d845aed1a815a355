package clientaddr

import "testing"

func TestHosts(t *testing.T) {
	p := Proxies{Hosts: []string{"rt.example.com", "Other.example:8443"}}
	for host, want := range map[string]bool{
		"rt.example.com": true, "RT.example.com:80": true, "other.example:8443": true,
		"127.0.0.1:8080": true, "[::1]:8080": true, "[::1]": true, "192.0.2.1": true, "localhost:8080": true,
		"other.example": false, "other.example:84": false, "evil.example": false, "evil.example:8080": false,
		"rt.example.com.evil.example": false, "1.2.3.4.evil.example": false, "rt.example.com.": false, "": false,
		"localhost.evil.example": false, "[::1].evil.example:80": false,
	} {
		if got := p.Host("192.0.2.9", host, nil); (got == host && host != "") != want || !want && got != "" {
			t.Errorf("%q: %q", host, got)
		}
	}
	if all := (&Proxies{}); all.Host("192.0.2.9", "evil.example", nil) != "evil.example" {
		t.Error("without names a host is refused")
	}
	for name, good := range map[string]bool{
		"a.example": true, "a.example:80": true, "": false, "https://a.example": false, "*.example": false, "a b": false,
		":80": false, "a.example:": false, "a/b": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
