package wire

import "testing"

func BenchmarkDecodeRequest(b *testing.B) {
	body := []byte(`{"key":"user_123","rate":5,"interval":"1s"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	body := AppendReply(nil, &Reply{Allowed: true, Key: "tenant.acme.user.42", Limit: 100, Remaining: 99, WindowMS: 1000, LimitName: "default", Source: "redis"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeReply(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendReply(b *testing.B) {
	r := Reply{Allowed: true, Key: "tenant.acme.user.42", Limit: 100, Remaining: 99, WindowMS: 1000, LimitName: "default", Source: "redis"}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendReply(buf[:0], &r)
	}
}

func BenchmarkCheckKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckKey("tenant.acme.user.user%40example"); err == nil {
			b.Fatal("no error")
		}
	}
}
