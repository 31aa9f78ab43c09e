const at=i=>document.getElementById(i),q=at('q'),r=at('r'),d=at('d'),v=at('v'),o=at('o'),h=at('h'),n=at('n'),list=at('list');
const all=[...document.querySelectorAll('details.e')],words=new Map();
const said=e=>{if(!words.has(e))words.set(e,e.textContent.toLowerCase());return words.get(e)};
const orders={given:(a,b)=>a.dataset.i-b.dataset.i,low:(a,b)=>(a.dataset.score||2)-(b.dataset.score||2)||orders.given(a,b),high:(a,b)=>(b.dataset.score||-1)-(a.dataset.score||-1)||orders.given(a,b),long:(a,b)=>b.dataset.turns-a.dataset.turns||orders.given(a,b)};
function show(){const t=q.value.trim().toLowerCase();let k=0;
for(const e of all){const s=e.dataset,ok=(!r||!r.value||s.run===r.value)&&(!d.value||s.set===d.value)&&(!v.value||s.verdicts.split(' ').includes(v.value))&&(!h.checked||s.harm==='1')&&(!t||said(e).includes(t));e.hidden=!ok;k+=ok}
n.textContent=k+' of '+all.length+' episodes'}
let soon;q.addEventListener('input',()=>{clearTimeout(soon);soon=setTimeout(show,150)});
[r,d,v,h].forEach(e=>e&&e.addEventListener('input',show));
o.addEventListener('input',()=>{all.sort(orders[o.value]).forEach(e=>list.append(e))});
function hash(){let t=location.hash.slice(1);try{t=decodeURIComponent(t)}catch{}
if(at(t))return;q.value=t;show();if(t){const hit=all.filter(e=>!e.hidden);if(hit.length===1)hit[0].open=true;at('dialogues').scrollIntoView()}}
show();hash();addEventListener('hashchange',hash);
