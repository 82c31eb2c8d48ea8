fn main() {
    wpool::init();
    let g = wpool::Guest::from_file(std::env::args().nth(1).unwrap()).unwrap();
    println!("{g:?}");
    let t = std::time::Instant::now();
    let pool = wpool::Pool::builder(g).workers(2).build().unwrap();
    let sq = pool.task::<i64, i64>("square").unwrap();
    println!("{:?}", sq.submit(&7).unwrap().result());
    println!("first {:?}", t.elapsed());
    let n = 20000;
    let t = std::time::Instant::now();
    for i in 0..n { assert_eq!(sq.submit(&i).unwrap().result().unwrap(), i*i); }
    println!("rtt {:?}", t.elapsed()/n as u32);
    for _ in 0..3 {
    let n = 1_000_000i64;
    let t = std::time::Instant::now();
    let mut s = 0i64; for (i, r) in sq.map(0..n).enumerate() { let r = r.unwrap(); assert_eq!(r, (i*i) as i64); s = s.wrapping_add(r); }
    println!("map {:.0}/s {s}", n as f64/t.elapsed().as_secs_f64());
    }
    println!("{:?}", pool.stats());
}
