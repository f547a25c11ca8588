-- A ledger of schema 4: that of schema 3 carried on, with steps that run, wait and wait for a time, asks in every state,
-- grants, votes with persons, keys that were seen, what is still to be delivered, and the message of an open ask.
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE allowances (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id       INTEGER NOT NULL,
  idx          INTEGER NOT NULL,
  connector    TEXT NOT NULL,
  target       TEXT NOT NULL,
  rule         TEXT NOT NULL,
  rule_version TEXT NOT NULL,
  requester    TEXT NOT NULL,
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  allowed_by   TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  revoked_at   INTEGER,
  revoked_by   TEXT,
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
INSERT INTO "allowances" VALUES(1,6,1,'oc','{"origin":"workspace:main","settings":{"model":"a/b"}}','fix','v1','anna','screen','main','["anna"]',1006000,10006000,NULL,NULL);
CREATE TABLE approvals (
  run_id   INTEGER NOT NULL,
  idx      INTEGER NOT NULL,
  digest   TEXT NOT NULL,
  approver TEXT NOT NULL,
  decision TEXT NOT NULL,
  at       INTEGER NOT NULL, person TEXT NOT NULL DEFAULT '',
  UNIQUE (run_id, idx, digest, approver),
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
INSERT INTO "approvals" VALUES(2,1,'277e77774996dce86f19dd95a9940b7bf178d4c00d544acc2a452257bc60e9f0','ben','approve',1002000,'ben');
INSERT INTO "approvals" VALUES(3,1,'b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','anna','approve',1003000,'anna');
INSERT INTO "approvals" VALUES(4,1,'5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','ben','deny',1004000,'ben');
INSERT INTO "approvals" VALUES(6,1,'f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','anna','allow_session',1006000,'anna');
INSERT INTO "approvals" VALUES(7,1,'7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','anna','approve',1007000,'anna');
INSERT INTO "approvals" VALUES(8,1,'3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','anna','approve',1008000,'anna');
INSERT INTO "approvals" VALUES(9,1,'5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','anna','approve',1009000,'anna');
INSERT INTO "approvals" VALUES(10,1,'8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','anna','approve',1010000,'anna');
INSERT INTO "approvals" VALUES(13,1,'e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','telegram:42','approve',1012000,'anna');
INSERT INTO "approvals" VALUES(13,1,'e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','telegram:43','approve',1012000,'ben');
INSERT INTO "approvals" VALUES(14,1,'7d4b2b57b864c83f81b3afda63d3d46545b7906ee75cbe56fb74291d1526828d','cli:anna','approve',1013000,'anna');
CREATE TABLE asks (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id      INTEGER NOT NULL,
  idx         INTEGER NOT NULL,
  key         TEXT NOT NULL,
  shown       TEXT NOT NULL,
  asked       TEXT NOT NULL,
  approvers   TEXT NOT NULL,
  state       TEXT NOT NULL,
  times       INTEGER NOT NULL DEFAULT 1,
  answer      TEXT,
  answered_by TEXT,
  created_at  INTEGER NOT NULL,
  closed_at   INTEGER,
  heard_at    INTEGER,
  UNIQUE (run_id, idx, key, shown),
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
INSERT INTO "asks" VALUES(1,6,1,'per_1','ab','{"type":"permission","id":"per_1","session_id":"ses_1","permission":"bash","patterns":["ls"],"metadata":null}','["anna"]','open',1,NULL,NULL,1006000,NULL,NULL);
INSERT INTO "asks" VALUES(2,7,1,'que_1','cd','{"type":"question","id":"que_1","session_id":"ses_2","questions":[]}','["anna"]','answered',1,'{"type":"reject"}','anna',1007000,1007500,NULL);
INSERT INTO "asks" VALUES(3,13,1,'per_open','75e5d2387edbc68e4e1c20b96388aaab4a94e21b2a29625529f4e387a2d443a9','{"type":"permission","id":"per_open","session_id":"ses_13","permission":"bash","patterns":["ls"],"metadata":{"command":"ls"}}','["telegram:42","cli:anna"]','open',1,NULL,NULL,1012000,NULL,NULL);
INSERT INTO "asks" VALUES(4,13,1,'per_always','5febf1da5fefdc027c3a2d6b6b1076097688306d8c5d33dd7d0404411479ada2','{"type":"permission","id":"per_always","session_id":"ses_13","permission":"bash","patterns":["cat a"],"metadata":{"command":"cat a"}}','["telegram:42","cli:anna"]','answered',1,'{"type":"always"}','telegram:42',1012000,1012000,1012000);
INSERT INTO "asks" VALUES(5,13,1,'que_1','214bf5e0d14869c45223fc1ec48050c6041f534641daab9d8c0fa70082b75552','{"type":"question","id":"que_1","session_id":"ses_13","questions":[{"question":"Which?","header":"Which","options":[],"multiple":false}]}','["telegram:42","cli:anna"]','withdrawn',1,NULL,NULL,1012000,1012000,NULL);
INSERT INTO "asks" VALUES(6,13,1,'per_unshown','6f2683c931cd76c7fc115bfecbed15eabfa64fc75498d64a4ff32867d7ed9240','{"type":"permission","id":"per_unshown","session_id":"ses_13","permission":"bash","patterns":["long"],"metadata":{"command":"long"}}','["telegram:42","cli:anna"]','unshown',1,NULL,NULL,1012000,1012000,NULL);
CREATE TABLE audit (
  seq    INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  kind   TEXT NOT NULL,
  run_id INTEGER,
  idx    INTEGER,
  actor  TEXT NOT NULL,
  digest TEXT,
  detail TEXT NOT NULL,
  hash   TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,1000000,'event',NULL,NULL,'anna',NULL,'{"event_id":1,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"1"}','96b19ebf11901d08d2d447d90d5c61d831cb4fc80309981c6e43088293c24d36');
INSERT INTO "audit" VALUES(2,1000000,'run',1,NULL,'anna',NULL,'{"event_id":1,"rule":"fix","rule_version":"v1"}','06495c001447c3987b992158a8d436553e4392bb860878a85f9424bae801620e');
INSERT INTO "audit" VALUES(3,1000000,'resolved',1,1,'host','8f337bad75b1e86af9a966d0f9200ffa392adf7ba03efa54b4c78ff989b301ba','{"connector":"oc","action":"run_task"}','dc47b96f4ce84d3cc0678fc3fd786aa4ec4cdd84aeb2ac67fdb95dc959f5dd8d');
INSERT INTO "audit" VALUES(4,1001000,'event',NULL,NULL,'anna',NULL,'{"event_id":2,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"2"}','e56add44c8a0bddc34cf44e8e9777f9a5c5b5dce70630bd5e67ee99bd5623787');
INSERT INTO "audit" VALUES(5,1001000,'run',2,NULL,'anna',NULL,'{"event_id":2,"rule":"fix","rule_version":"v1"}','a8ddad4dcd5a82d8537a3559d4900cba37c5b6b945e47e3680b3c0553d8399b2');
INSERT INTO "audit" VALUES(6,1001000,'resolved',2,1,'host','277e77774996dce86f19dd95a9940b7bf178d4c00d544acc2a452257bc60e9f0','{"connector":"oc","action":"run_task"}','fe20ffaad0fb318d204781f38617535f4f98ba242a02cb48494b8445cab18be0');
INSERT INTO "audit" VALUES(7,1001000,'asked',2,1,'host','277e77774996dce86f19dd95a9940b7bf178d4c00d544acc2a452257bc60e9f0','null','52eefe9348dd192f2498631fcc53b30f86f874e5512e9083bcdf964c2d87f439');
INSERT INTO "audit" VALUES(8,1002000,'vote',2,1,'ben','277e77774996dce86f19dd95a9940b7bf178d4c00d544acc2a452257bc60e9f0','{"decision":"approve"}','d14ba92cd31eb24da7b7fb2505f966bb8709e449184f3f84e21170391869c006');
INSERT INTO "audit" VALUES(9,1002000,'event',NULL,NULL,'anna',NULL,'{"event_id":3,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"3"}','80213efe0210d8458498a55790a214ca53234dba380e9974f549ca5806bf5d20');
INSERT INTO "audit" VALUES(10,1002000,'run',3,NULL,'anna',NULL,'{"event_id":3,"rule":"fix","rule_version":"v1"}','7764b35ccbe1b885a3651d0a80bce87a7437cdd796147e13560a1c06bcc62b04');
INSERT INTO "audit" VALUES(11,1002000,'resolved',3,1,'host','b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','{"connector":"oc","action":"run_task"}','f998216ed4b9ef536176367599ae9c221df9e51117d02f8d7c5cb5ba4df74093');
INSERT INTO "audit" VALUES(12,1002000,'asked',3,1,'host','b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','null','df9854235627e160bcd852f2ecd1d7f35ada3336979ec2b55933556a3c911ada');
INSERT INTO "audit" VALUES(13,1003000,'vote',3,1,'anna','b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','{"decision":"approve"}','22c13aede13ee29afa74839e84e095d79d89e7f93a72da9d219eb6b6edb4b789');
INSERT INTO "audit" VALUES(14,1003000,'approved',3,1,'anna','b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','{"shown":"b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a"}','d469dc17134628ea2fef9eed564b08ef3f97a67c8249e265771201b4b05b12b9');
INSERT INTO "audit" VALUES(15,1003000,'event',NULL,NULL,'anna',NULL,'{"event_id":4,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"4"}','957ac92d91c508fd0a2e15b593784a9620e8a52a02808ef69ea386b17c4edce6');
INSERT INTO "audit" VALUES(16,1003000,'run',4,NULL,'anna',NULL,'{"event_id":4,"rule":"fix","rule_version":"v1"}','df0da6cabef12c1a0448d01be6444de13c0c3c468058e93b14149b3d15fd657f');
INSERT INTO "audit" VALUES(17,1003000,'resolved',4,1,'host','5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','{"connector":"oc","action":"run_task"}','cf99d1370c1415f675dbfbbe53f9bc0a5b31ce7987d6969db4d917b3ab24e2cb');
INSERT INTO "audit" VALUES(18,1003000,'asked',4,1,'host','5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','null','a9c171d407c048abe78182272f019ca10ce038f60611dbed206e2f5cbab661a6');
INSERT INTO "audit" VALUES(19,1004000,'vote',4,1,'ben','5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','{"decision":"deny"}','11b9fa1314bc8c6c3855dd42039c3466f3fd73e45b9f7403fbb8352e304ba030');
INSERT INTO "audit" VALUES(20,1004000,'denied',4,1,'ben','5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','{"shown":"5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389"}','1949f7aa9483a613bfdece9f6804626a66cb2d076cffca0f13816505bdb9c57f');
INSERT INTO "audit" VALUES(21,1004000,'event',NULL,NULL,'anna',NULL,'{"event_id":5,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"5"}','199f335f76acf1a78c9f88b2cb34333a4f738b881fa0faf06e41dbef9e881afc');
INSERT INTO "audit" VALUES(22,1004000,'run',5,NULL,'anna',NULL,'{"event_id":5,"rule":"fix","rule_version":"v1"}','1d872dd5d59258623f5e46b89b326ce9d39aeec6298adc6c5fa5ba9c30afdb7f');
INSERT INTO "audit" VALUES(23,1004000,'resolved',5,1,'host','55ebde5707049f4caae435523c62194d0ec722e5be272772bb94dbc6e63323bf','{"connector":"oc","action":"run_task"}','b331add1fb9095023223d330a05381c17a3116260f3bcbd3516ec039f1b75669');
INSERT INTO "audit" VALUES(24,1004000,'asked',5,1,'host','55ebde5707049f4caae435523c62194d0ec722e5be272772bb94dbc6e63323bf','null','cb5dbf241a2dbfcc93c4e01a5b4cbbde3e86ddc9b59093957db4e7aa389ad607');
INSERT INTO "audit" VALUES(25,1005000,'expired',5,1,'host','55ebde5707049f4caae435523c62194d0ec722e5be272772bb94dbc6e63323bf','null','67c5141e26e5165357fd5e79bb008dfbba021c9ca7dc1db18b959613297c47a3');
INSERT INTO "audit" VALUES(26,1005000,'event',NULL,NULL,'anna',NULL,'{"event_id":6,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"6"}','34a063542aa9af5638bbe717e058c4a7f27d7b0eb607cee7e74e98aaad32a687');
INSERT INTO "audit" VALUES(27,1005000,'run',6,NULL,'anna',NULL,'{"event_id":6,"rule":"fix","rule_version":"v1"}','aa0543d9f032a7c17ddc3a943d72117c66aa9795543da512f7d5716f59d41de3');
INSERT INTO "audit" VALUES(28,1005000,'resolved',6,1,'host','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','{"connector":"oc","action":"run_task"}','1431ee423f2675498e776344563011009da8069e599747d68a31a8c2f520c545');
INSERT INTO "audit" VALUES(29,1005000,'asked',6,1,'host','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','null','66905216737d85b46a907a0038a9157c383e099bedb6b00b5580dfef46114a95');
INSERT INTO "audit" VALUES(30,1006000,'vote',6,1,'anna','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','{"decision":"allow_session"}','e10f875904e212bc2b4de8540247a779cd6031245cc144816ad4751226ef1125');
INSERT INTO "audit" VALUES(31,1006000,'approved',6,1,'anna','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','{"shown":"f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7"}','63570156256d83bb27b2862bdd6f8e414c47600c518b56f65d79afe6b36eef19');
INSERT INTO "audit" VALUES(32,1006000,'allowance_given',6,1,'anna','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','{"allowance":1,"by":["anna"],"until":10006000}','68d8ef75e710af986eac16eb102cab084b979ee0e0339c946320de0f04a9b313');
INSERT INTO "audit" VALUES(33,1006000,'dispatched',6,1,'host','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','null','fe579fba6bb6455c5a39adfdc7d0e5b0ded52ddaa827c5f74b7a57ffebe884a8');
INSERT INTO "audit" VALUES(34,1006000,'checkpoint',6,1,'host',NULL,'{"session_id":"ses_6"}','7311c76e9d625d4c4ec6589bc30f9cf57a4c457805cbd24950d852cdc5d581f4');
INSERT INTO "audit" VALUES(35,1006000,'event',NULL,NULL,'anna',NULL,'{"event_id":7,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"7"}','f84cbac11ff11923621b8bd75b8e565837006abc113ef6c410e2d98816480f38');
INSERT INTO "audit" VALUES(36,1006000,'run',7,NULL,'anna',NULL,'{"event_id":7,"rule":"fix","rule_version":"v1"}','99ab7034bf8e8e65ccfb2226d6bc97d931c8a6e48d689012482026ea340c76a0');
INSERT INTO "audit" VALUES(37,1006000,'resolved',7,1,'host','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','{"connector":"oc","action":"run_task"}','0ab478068b9436fe533b0a51edbcb327b60bfabc5b3f6a3ba077635f59a69b00');
INSERT INTO "audit" VALUES(38,1006000,'asked',7,1,'host','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','null','45177fe2d13174b6be4ed45699ba7da85edd5d0f6aaf7ca8f98cb9800c80e7f3');
INSERT INTO "audit" VALUES(39,1007000,'vote',7,1,'anna','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','{"decision":"approve"}','27463bcb95677f4a23c4ec17784b03a05f8401cade35b55d3511d180576c6d10');
INSERT INTO "audit" VALUES(40,1007000,'approved',7,1,'anna','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','{"shown":"7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5"}','e87ae505b9655ef1a85d1344a03061b9736951bf31b4fb6e1a1931359cf440b0');
INSERT INTO "audit" VALUES(41,1007000,'dispatched',7,1,'host','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','null','5f8cb45d97838c43be4aec79f2bfaad8defd3158b72dfb9fbeb614a6791e9f0d');
INSERT INTO "audit" VALUES(42,1007000,'checkpoint',7,1,'host',NULL,'{"session_id":"ses_7"}','8d1b93c09436f553bbcedb548183f9837c12a92c56793735dc0974920f77f156');
INSERT INTO "audit" VALUES(43,1007000,'succeeded',7,1,'host','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','null','07203865da2c3b424d94a830ec7fa6f65d6bb927876bdfd3e3c1488c799d18ec');
INSERT INTO "audit" VALUES(44,1007000,'event',NULL,NULL,'anna',NULL,'{"event_id":8,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"8"}','e1b8d64f5729b367d1e2bbe4d440c7b3d096060a2953de026cf84893074f991e');
INSERT INTO "audit" VALUES(45,1007000,'run',8,NULL,'anna',NULL,'{"event_id":8,"rule":"fix","rule_version":"v1"}','649e5e34d894e30776487c832bd1baff0b75f78c97b9ce7a57f38007f8b5b4c7');
INSERT INTO "audit" VALUES(46,1007000,'resolved',8,1,'host','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','{"connector":"oc","action":"run_task"}','b143f53dbfdae7947f4a275d50e0017b052a43212673e54bcfc84af380ce7c52');
INSERT INTO "audit" VALUES(47,1007000,'asked',8,1,'host','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','null','55d9460db8f7108b5496dec822ddac3691c566e3ed6d73b597807ef60b01c0df');
INSERT INTO "audit" VALUES(48,1008000,'vote',8,1,'anna','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','{"decision":"approve"}','bace15f362dcfb214773cf8eddd6fe35e19d0c4e0d5eb406c3c00c8c0963d619');
INSERT INTO "audit" VALUES(49,1008000,'approved',8,1,'anna','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','{"shown":"3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001"}','0cb76758f24b8affde44ebde37faae14608e9c7c385060d86e4358d4e5f80c13');
INSERT INTO "audit" VALUES(50,1008000,'dispatched',8,1,'host','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','null','ee5219b2085640f9dc178d043daac998f5c98d90061eaf57b96d745d3383a8c8');
INSERT INTO "audit" VALUES(51,1008000,'checkpoint',8,1,'host',NULL,'{"session_id":"ses_8"}','e67755d15bc312a94ffb98399558d47169104c9efc71a43b92f9e0e885a1c63d');
INSERT INTO "audit" VALUES(52,1008000,'failed',8,1,'host','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','null','ec3d7f039d1e447ec75bc82d5fc29c59f59246825db5f319d36713a28f3966a8');
INSERT INTO "audit" VALUES(53,1008000,'event',NULL,NULL,'anna',NULL,'{"event_id":9,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"9"}','854e642f91013b9eb63822acdc0283033ba882e774f51e76ddaf38915e31de0a');
INSERT INTO "audit" VALUES(54,1008000,'run',9,NULL,'anna',NULL,'{"event_id":9,"rule":"fix","rule_version":"v1"}','55ca11b676fa671161632b316d1029b8747b0810c415836434f975df7b480283');
INSERT INTO "audit" VALUES(55,1008000,'resolved',9,1,'host','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','{"connector":"oc","action":"run_task"}','d4397f7b3cd5b5d422bf473255d64f8d23f41e9c60390d96f97c4e37b86edc51');
INSERT INTO "audit" VALUES(56,1008000,'asked',9,1,'host','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','null','ff0755478c52c788fb89e66d2377c3e6e6029547c5899105041e930bd8298cd7');
INSERT INTO "audit" VALUES(57,1009000,'vote',9,1,'anna','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','{"decision":"approve"}','18319341fd4504b4c037a0bdbab773e83f12f2acdde3a16aba16dda9987fbbca');
INSERT INTO "audit" VALUES(58,1009000,'approved',9,1,'anna','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','{"shown":"5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9"}','5082e70ec13677d5d5bbb8fc2ca3ec5d3966d6c54f137898d225097c43934519');
INSERT INTO "audit" VALUES(59,1009000,'dispatched',9,1,'host','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','null','0c8e82e3704e4e11e7348ebcb892d3d2995a2699576aca7f4f04ed622959528c');
INSERT INTO "audit" VALUES(60,1009000,'checkpoint',9,1,'host',NULL,'{"session_id":"ses_9"}','d5b97221a82272ecd6f06b9ca6b7b3423c762d49a20993f43b9ae4ec0f1c9c16');
INSERT INTO "audit" VALUES(61,1009000,'cancelled',9,1,'host','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','null','eed7bc946a1a59e59d8b62c73022901bb7bc35a37876972b09e031775bce696d');
INSERT INTO "audit" VALUES(62,1009000,'event',NULL,NULL,'anna',NULL,'{"event_id":10,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"10"}','b36a0de0c1dc259ec0243286438c45b410da279120085fe8955155e0efd0bf08');
INSERT INTO "audit" VALUES(63,1009000,'run',10,NULL,'anna',NULL,'{"event_id":10,"rule":"fix","rule_version":"v1"}','c6ea9177f895d4ec2f60627e56d97af05b195a8d83b1f963decdbc1b28f176f5');
INSERT INTO "audit" VALUES(64,1009000,'resolved',10,1,'host','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','{"connector":"oc","action":"run_task"}','1f2ac19321c8fc95be135622e33083dfaaf0fb8de9e6e2d7563313648806d1c8');
INSERT INTO "audit" VALUES(65,1009000,'asked',10,1,'host','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','null','983808232b7e5ef723f757295ac6cf9e36c1f80a32286d0673b1f1159649cf37');
INSERT INTO "audit" VALUES(66,1010000,'vote',10,1,'anna','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','{"decision":"approve"}','d0fee1d354f44a804d3b9b2ef8a3d08c30087365d2d6ed8407b4c654cda68db5');
INSERT INTO "audit" VALUES(67,1010000,'approved',10,1,'anna','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','{"shown":"8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e"}','1f89d53f65354b8eedbd772a2b50abfbf3890dd595fc20374cb99b32b302f9dd');
INSERT INTO "audit" VALUES(68,1010000,'dispatched',10,1,'host','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','null','4d76e9794c39e4d4ae229f239c3bb67825d890cfa160bcad56f36ff0dcb7d261');
INSERT INTO "audit" VALUES(69,1010000,'checkpoint',10,1,'host',NULL,'{"session_id":"ses_10"}','c9df26e3c551499a2b3b13a7101f9d613923f6997026ac83857da14cf550fc57');
INSERT INTO "audit" VALUES(70,1010000,'lost',10,1,'host','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','null','59af2e9ab4314ad27054ebbf836ff5f86ac16bb2dbfce2f62797dc3e5aee44ca');
INSERT INTO "audit" VALUES(71,1010000,'event',NULL,NULL,'anna',NULL,'{"event_id":11,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"11"}','b216047b7372893fb3e93852d4f4e97db93cfe59c80662f28ab889df73f15e7d');
INSERT INTO "audit" VALUES(72,1010000,'run',11,NULL,'anna',NULL,'{"event_id":11,"rule":"fix","rule_version":"v1"}','a1616bea9984f5a4d1c996ee2f182e23650cf0ff29582aedb428f1018023d5d5');
INSERT INTO "audit" VALUES(73,1010000,'resolved',11,1,'host','73c82c0da85aa255572757cdf54bc4393cb5e3be0b37584c8eab348affd7e99c','{"connector":"oc","action":"run_task"}','cc4d2001e63f60b9044aac3f8f935810516f9e6e156ba678a1c0a410034a2e3b');
INSERT INTO "audit" VALUES(74,1011000,'skipped',11,1,'host','73c82c0da85aa255572757cdf54bc4393cb5e3be0b37584c8eab348affd7e99c','null','34900642270f6fd97537588fa618c629b1e0d8deb0023ec1473f696e6ce76fbd');
INSERT INTO "audit" VALUES(75,1011000,'event',NULL,NULL,'anna',NULL,'{"event_id":12,"connector":"chat","event":"message","chat":"main","surface":"screen","platform_id":"12"}','f0d76f4e1dabdb4da333908f097f1d30104a57aee8580287564dac5f955e3248');
INSERT INTO "audit" VALUES(76,1011000,'run',12,NULL,'anna',NULL,'{"event_id":12,"rule":"fix","rule_version":"v1"}','b6367cb5673538091bee17349bb168bdd70915a81be49c6a174c9efffb36d28e');
INSERT INTO "audit" VALUES(77,1011000,'resolved',12,1,'host','fba05fc2230676de0fb1073bbb137b414b6e1cbe83b81fd398c352844183b3bf','{"connector":"oc","action":"run_task"}','f0bf180afa0e4f4e9bcbcbd99d965fee1d74eab824c8bb9e314f0a0a9c3545af');
INSERT INTO "audit" VALUES(78,1011000,'passed',12,1,'host','fba05fc2230676de0fb1073bbb137b414b6e1cbe83b81fd398c352844183b3bf','{"by":"allowance","allowance":1}','c1a6c69c60fc313365c728a819a71aaf7fc9688ec49692f32ccad3a7547f78d1');
INSERT INTO "audit" VALUES(79,1012000,'event',NULL,NULL,'telegram:42',NULL,'{"event_id":13,"connector":"chat","event":"message","chat":"-100","surface":"telegram","platform_id":"13"}','98c92c90fcb526c5ab94da8a0e3c9e70e1ce2c4d6e52825df0ac94687692cf98');
INSERT INTO "audit" VALUES(80,1012000,'run',13,NULL,'telegram:42',NULL,'{"event_id":13,"rule":"fix","rule_version":"v1"}','8ffc8631783a2b7c8a2bb71aadd236e77c9823d7109bf3760c4f4d5ba6408ebd');
INSERT INTO "audit" VALUES(81,1012000,'resolved',13,1,'host','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','{"connector":"oc","action":"run_task"}','d5030d21c3f702efe823a1ef88f3df503b75c049137f8aed6934c7e5b5300f2d');
INSERT INTO "audit" VALUES(82,1012000,'asked',13,1,'host','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','null','cefa5166a59208f4908589f03ad5a8246eafc7ba33aa2c0c2a8d300aebc79092');
INSERT INTO "audit" VALUES(83,1012000,'vote',13,1,'telegram:42','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','{"decision":"approve","person":"anna"}','b45f570102ed3f9cdc3837319e7a404fcc979bd56690ac2baca93c5795c92cab');
INSERT INTO "audit" VALUES(84,1012000,'vote',13,1,'telegram:43','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','{"decision":"approve","person":"ben"}','2b1c3bd6324027dc9f108c3f62f60675b1226be9c6e44e78fe5627cf9d80fab8');
INSERT INTO "audit" VALUES(85,1012000,'approved',13,1,'telegram:43','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','{"shown":"e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da","person":"ben"}','4f67600db6ce8148267e84cbdb04d5bd58def9fcb0c843c87d9c15fd716d9596');
INSERT INTO "audit" VALUES(86,1012000,'dispatched',13,1,'host','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','null','c9c4d90e80bf72fccd6343a9e0685a1f0bc1901c205cfb60903198d867042230');
INSERT INTO "audit" VALUES(87,1012000,'asked',13,1,'host',NULL,'{"ask":{"id":"per_open","permission":"bash","patterns":["ls"],"shown":"75e5d2387edbc68e4e1c20b96388aaab4a94e21b2a29625529f4e387a2d443a9"},"number":3,"times":1,"approvers":["telegram:42","cli:anna"]}','213beabeebbb7eeb92f05b55d85167e3c5f8ef438a6205fb0a39e585abdbdfdb');
INSERT INTO "audit" VALUES(88,1012000,'asked',13,1,'host',NULL,'{"ask":{"id":"per_always","permission":"bash","patterns":["cat a"],"shown":"5febf1da5fefdc027c3a2d6b6b1076097688306d8c5d33dd7d0404411479ada2"},"number":4,"times":1,"approvers":["telegram:42","cli:anna"]}','8a3592eca4b84a048d2f527ac5a2880f57a42bdde17743192c9952fef282c123');
INSERT INTO "audit" VALUES(89,1012000,'ask_answered',13,1,'telegram:42',NULL,'{"ask":{"id":"per_always","permission":"bash","patterns":["cat a"],"shown":"5febf1da5fefdc027c3a2d6b6b1076097688306d8c5d33dd7d0404411479ada2"},"number":4,"times":1,"answer":{"type":"always"},"person":"anna"}','4acd538b060becfc6278982d596a83b3721fff71372849e7b65ab640e81d5d66');
INSERT INTO "audit" VALUES(90,1012000,'grant_given',13,1,'telegram:42',NULL,'{"grant":2,"shown":"e44037765cb51a05b997991c395572b85bc68250a0077a3e8b1277f91f1e80ea","until":10012000,"person":"anna"}','23fbd44b53e4cf63bf9d782c4d5d407fa35e8f35fd0efd7e73587023ad56f28d');
INSERT INTO "audit" VALUES(91,1012000,'asked',13,1,'host',NULL,'{"ask":{"id":"que_1","questions":["Which?"],"shown":"214bf5e0d14869c45223fc1ec48050c6041f534641daab9d8c0fa70082b75552"},"number":5,"times":1,"approvers":["telegram:42","cli:anna"]}','de367d342483332ebe95c6d1a4448e647015c284a887744dbd1e448305088b0b');
INSERT INTO "audit" VALUES(92,1012000,'ask_withdrawn',13,1,'host',NULL,'{"ask":{"id":"que_1","questions":["Which?"],"shown":"214bf5e0d14869c45223fc1ec48050c6041f534641daab9d8c0fa70082b75552"},"number":5}','9ce9d77787bc49682e8f3722eaacbce71083c606c209e9c3df912d90a1b6a958');
INSERT INTO "audit" VALUES(93,1012000,'asked',13,1,'host',NULL,'{"ask":{"id":"per_unshown","permission":"bash","patterns":["long"],"shown":"6f2683c931cd76c7fc115bfecbed15eabfa64fc75498d64a4ff32867d7ed9240"},"number":6,"times":1,"approvers":["telegram:42","cli:anna"]}','483b3754ae4790d964f6a06527e12fdab494905de1d078144fed0f69c464c9dd');
INSERT INTO "audit" VALUES(94,1012000,'ask_unshown',13,1,'host',NULL,'{"ask":{"id":"per_unshown","permission":"bash","patterns":["long"],"shown":"6f2683c931cd76c7fc115bfecbed15eabfa64fc75498d64a4ff32867d7ed9240"},"number":6,"reason":"too long"}','c0c96682d2c4d50f84edd0c7cbd1be590f24347836bc8095b35ead4da1dace9a');
INSERT INTO "audit" VALUES(95,1013000,'event',NULL,NULL,'telegram:42',NULL,'{"event_id":14,"connector":"chat","event":"message","chat":"-100","surface":"telegram","platform_id":"14"}','9321b0a49d9b5c41a9e5426f6d908a21ec297c2636412b43f975af7d36c073c3');
INSERT INTO "audit" VALUES(96,1013000,'run',14,NULL,'telegram:42',NULL,'{"event_id":14,"rule":"fix","rule_version":"v1"}','a9f7b66c156f4f5c8349df323482b3e207fee6ae491160571630d11e1e183d2d');
INSERT INTO "audit" VALUES(97,1013000,'resolved',14,1,'host','7d4b2b57b864c83f81b3afda63d3d46545b7906ee75cbe56fb74291d1526828d','{"connector":"oc","action":"run_task"}','a91b4f074fbe86c428ca53619b67226e54f662fdab159aa14d04df9aca190852');
INSERT INTO "audit" VALUES(98,1013000,'asked',14,1,'host','7d4b2b57b864c83f81b3afda63d3d46545b7906ee75cbe56fb74291d1526828d','null','212263c18bb2a013cb055f36a3cb51266217ec2d0f7c7059ee8380e695f8d78c');
INSERT INTO "audit" VALUES(99,1013000,'vote',14,1,'cli:anna','7d4b2b57b864c83f81b3afda63d3d46545b7906ee75cbe56fb74291d1526828d','{"decision":"approve","person":"anna"}','a29f216b1bfea83d27545eb2228b5ddfb86dc76df2c79a7ee309ef2dd1d2ef29');
INSERT INTO "audit" VALUES(100,1014000,'event',NULL,NULL,'telegram:43',NULL,'{"event_id":15,"connector":"chat","event":"message","chat":"43","surface":"telegram","platform_id":"15"}','98570e67c27197dff34a4cb83a46ca89a2f2d84f0caade5f65c3d4f3a93f4c96');
INSERT INTO "audit" VALUES(101,1014000,'run',15,NULL,'telegram:43',NULL,'{"event_id":15,"rule":"fix","rule_version":"v1"}','710c1ebd70b582da1687539e313847b056dce0fc1a31605615cfd47aa8455335');
INSERT INTO "audit" VALUES(102,1014000,'resolved',15,1,'host','de0ed94223770097451129760769c215c8bb2f01d91991c4261bb9a0e428d02a','{"connector":"oc","action":"run_task"}','a161ab37ce26dd77218cb22d6110d9087c78532a38279c21a5158168f28631c3');
INSERT INTO "audit" VALUES(103,1014000,'asked',15,1,'host','de0ed94223770097451129760769c215c8bb2f01d91991c4261bb9a0e428d02a','null','ec6bdaacede24b44191e488d551df5e080bc896077417b189b0c5165d6525565');
INSERT INTO "audit" VALUES(104,1015000,'event',NULL,NULL,'telegram:43',NULL,'{"event_id":16,"connector":"chat","event":"message","chat":"43","surface":"telegram","platform_id":"16"}','8f593fa687f66973025423aa08957be0278a2a642ba0659f2595c7c630a458cb');
INSERT INTO "audit" VALUES(105,1015000,'run',16,NULL,'telegram:43',NULL,'{"event_id":16,"rule":"fix","rule_version":"v1"}','9e1dca655b84d41f019f8c8bd35d0f70745a2b8e5f65f1494549a06484488624');
INSERT INTO "audit" VALUES(106,1015000,'resolved',16,1,'host','c6963860bb62d9e1b4e24994cbe433f3fc977953751794969f0f9b04e615d70c','{"connector":"oc","action":"delay"}','f9afdff133082aa57787719377e80a892f9ee0c0fec7bbd5b7dd18bf86b70b76');
INSERT INTO "audit" VALUES(107,1015000,'passed',16,1,'host','c6963860bb62d9e1b4e24994cbe433f3fc977953751794969f0f9b04e615d70c','null','88d8a44812b43b200aefd62a512740818e40988228da871829fdd9b2b42b60ab');
INSERT INTO "audit" VALUES(108,1015000,'dispatched',16,1,'host','c6963860bb62d9e1b4e24994cbe433f3fc977953751794969f0f9b04e615d70c','null','5c9bb91d27c7f7f41652b352c8e0fe273a9a22a1a8387a5250423af5e054e80f');
INSERT INTO "audit" VALUES(109,1016000,'event',NULL,NULL,'telegram:43',NULL,'{"event_id":17,"connector":"chat","event":"message","chat":"43","surface":"telegram","platform_id":"17"}','60f8f4420b3ff08f04f9d478133609cfd3eaa47a060e1e9503f5bd2756ef5bbd');
INSERT INTO "audit" VALUES(110,1016000,'run',17,NULL,'telegram:43',NULL,'{"event_id":17,"rule":"fix","rule_version":"v1"}','bf03345141c731d27a7c19689d9b535c8c527e9c28ddcada34761d85f627a6a8');
INSERT INTO "audit" VALUES(111,1016000,'resolved',17,1,'host','7ff710b83682489da39eed41fc9073015962096ac1266ea4d126d2f1563f0b8a','{"connector":"oc","action":"run_task"}','13a14381e78d4c392d30486c6cc719b290d72c3931c9098bdb6e75a8e6e85749');
INSERT INTO "audit" VALUES(112,1016000,'failed',17,1,'host','7ff710b83682489da39eed41fc9073015962096ac1266ea4d126d2f1563f0b8a','null','1d1712b32a3206b8b5bd1f158e78300fe47dd451f8a299b92bee789fcfdae70d');
INSERT INTO "audit" VALUES(113,1016000,'run_ended',17,NULL,'host',NULL,'{"state":"failed","reason":"no such thing"}','36042ceb0f10cae8b537d6e8bbaf6d83a35cee42a94eed8cc0c4d92fa7e37341');
CREATE TABLE audit_anchor (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  seq  INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT;
INSERT INTO "audit_anchor" VALUES(1,0,'connector-host audit v1');
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), latest INTEGER NOT NULL) STRICT;
INSERT INTO "clock" VALUES(1,1016000);
CREATE TABLE events (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  surface     TEXT NOT NULL,
  platform_id TEXT NOT NULL,
  connector   TEXT NOT NULL,
  event       TEXT NOT NULL,
  chat        TEXT NOT NULL,
  requester   TEXT NOT NULL,
  payload     TEXT NOT NULL,
  reply       TEXT,
  received_at INTEGER NOT NULL,
  handled_at  INTEGER,
  UNIQUE (surface, platform_id)
) STRICT;
INSERT INTO "events" VALUES(1,'screen','1','chat','message','main','anna','{"text":"/fix 1"}',NULL,1000000,1000000);
INSERT INTO "events" VALUES(2,'screen','2','chat','message','main','anna','{"text":"/fix 2"}',NULL,1001000,1001000);
INSERT INTO "events" VALUES(3,'screen','3','chat','message','main','anna','{"text":"/fix 3"}',NULL,1002000,1002000);
INSERT INTO "events" VALUES(4,'screen','4','chat','message','main','anna','{"text":"/fix 4"}',NULL,1003000,1003000);
INSERT INTO "events" VALUES(5,'screen','5','chat','message','main','anna','{"text":"/fix 5"}',NULL,1004000,1004000);
INSERT INTO "events" VALUES(6,'screen','6','chat','message','main','anna','{"text":"/fix 6"}',NULL,1005000,1005000);
INSERT INTO "events" VALUES(7,'screen','7','chat','message','main','anna','{"text":"/fix 7"}',NULL,1006000,1006000);
INSERT INTO "events" VALUES(8,'screen','8','chat','message','main','anna','{"text":"/fix 8"}',NULL,1007000,1007000);
INSERT INTO "events" VALUES(9,'screen','9','chat','message','main','anna','{"text":"/fix 9"}',NULL,1008000,1008000);
INSERT INTO "events" VALUES(10,'screen','10','chat','message','main','anna','{"text":"/fix 10"}',NULL,1009000,1009000);
INSERT INTO "events" VALUES(11,'screen','11','chat','message','main','anna','{"text":"/fix 11"}',NULL,1010000,1010000);
INSERT INTO "events" VALUES(12,'screen','12','chat','message','main','anna','{"text":"/fix 12"}',NULL,1011000,1011000);
INSERT INTO "events" VALUES(13,'telegram','13','chat','message','-100','telegram:42','{"text":"/fix 13"}',NULL,1012000,1012000);
INSERT INTO "events" VALUES(14,'telegram','14','chat','message','-100','telegram:42','{"text":"/fix 14"}',NULL,1013000,1013000);
INSERT INTO "events" VALUES(15,'telegram','15','chat','message','43','telegram:43','{"text":"/fix 15"}',NULL,1014000,1014000);
INSERT INTO "events" VALUES(16,'telegram','16','chat','message','43','telegram:43','{"text":"/fix 16"}',NULL,1015000,1015000);
INSERT INTO "events" VALUES(17,'telegram','17','chat','message','43','telegram:43','{"text":"/fix 17"}',NULL,1016000,1016000);
CREATE TABLE grants (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id     INTEGER NOT NULL,
  idx        INTEGER NOT NULL,
  connector  TEXT NOT NULL,
  place      TEXT NOT NULL,
  session_id TEXT NOT NULL,
  permission TEXT NOT NULL,
  parts      TEXT NOT NULL,
  granted_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  revoked_by TEXT,
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
INSERT INTO "grants" VALUES(1,6,1,'oc','{}','ses_1','bash','[{"name":"command","text":"ls"}]','anna',1006000,10006000,NULL,NULL);
INSERT INTO "grants" VALUES(2,13,1,'oc','["workspace:w13",null]','ses_13','bash','[{"name":"command","text":"cat a"}]','telegram:42',1012000,10012000,NULL,NULL);
CREATE TABLE messages (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  surface     TEXT NOT NULL,
  chat        TEXT NOT NULL,
  surface_ref TEXT NOT NULL,
  run_id      INTEGER,
  idx         INTEGER,
  parcel      INTEGER,
  part        TEXT NOT NULL
) STRICT;
INSERT INTO "messages" VALUES(1,'telegram','-100','113',13,1,NULL,'card');
INSERT INTO "messages" VALUES(2,'telegram','-100','114',13,1,NULL,'ask per_open');
INSERT INTO "messages" VALUES(3,'telegram','-100','115',13,1,NULL,'ask per_always');
INSERT INTO "messages" VALUES(4,'telegram','-100','115',13,1,NULL,'closed per_always');
INSERT INTO "messages" VALUES(5,'telegram','-100','116',14,1,NULL,'card');
CREATE TABLE outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  kind         TEXT NOT NULL,
  run_id       INTEGER,
  idx          INTEGER,
  body         TEXT,
  created_at   INTEGER NOT NULL,
  since        INTEGER NOT NULL,
  attempts     INTEGER NOT NULL DEFAULT 0,
  next_at      INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER,
  surface_ref  TEXT
) STRICT;
INSERT INTO "outbox" VALUES(1,'screen','main','card',2,1,NULL,1001000,1001000,0,0,1001000,'m2');
INSERT INTO "outbox" VALUES(2,'screen','main','card',3,1,NULL,1002000,1002000,0,0,1002000,'m3');
INSERT INTO "outbox" VALUES(3,'screen','main','card',4,1,NULL,1003000,1003000,0,0,1003000,'m4');
INSERT INTO "outbox" VALUES(4,'screen','main','result',4,1,NULL,1004000,1004000,0,0,1004000,'m5');
INSERT INTO "outbox" VALUES(5,'screen','main','card',5,1,NULL,1004000,1004000,0,0,1005000,'m6');
INSERT INTO "outbox" VALUES(6,'screen','main','card',6,1,NULL,1005000,1005000,0,0,1006000,'m7');
INSERT INTO "outbox" VALUES(7,'screen','main','card',7,1,NULL,1006000,1006000,0,0,1007000,'m8');
INSERT INTO "outbox" VALUES(8,'screen','main','card',8,1,NULL,1007000,1007000,0,0,1008000,'m9');
INSERT INTO "outbox" VALUES(9,'screen','main','card',9,1,NULL,1008000,1008000,0,0,1009000,'m10');
INSERT INTO "outbox" VALUES(10,'screen','main','card',10,1,NULL,1009000,1009000,0,0,1011000,'m12');
INSERT INTO "outbox" VALUES(11,'telegram','-100','card',13,1,NULL,1012000,1012000,0,0,1012000,'113');
INSERT INTO "outbox" VALUES(12,'telegram','-100','card',14,1,NULL,1013000,1013000,0,0,1013000,'116');
INSERT INTO "outbox" VALUES(13,'telegram','43','card',15,1,NULL,1014000,1014000,1,1018000,NULL,NULL);
INSERT INTO "outbox" VALUES(14,'telegram','43','text',15,NULL,'a text',1014000,1014000,0,0,NULL,NULL);
INSERT INTO "outbox" VALUES(15,'telegram','43','result',17,1,NULL,1016000,1016000,0,0,NULL,NULL);
CREATE TABLE rule_versions (
  version    TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  definition TEXT NOT NULL
) STRICT;
INSERT INTO "rule_versions" VALUES('v1','fix','text');
CREATE TABLE runs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id     INTEGER NOT NULL REFERENCES events (id),
  rule         TEXT NOT NULL,
  rule_version TEXT NOT NULL REFERENCES rule_versions (version),
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  requester    TEXT NOT NULL,
  state        TEXT NOT NULL,
  due          INTEGER NOT NULL DEFAULT 1,
  reason       TEXT,
  cancel_by    TEXT,
  created_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  UNIQUE (event_id, rule)
) STRICT;
INSERT INTO "runs" VALUES(1,1,'fix','v1','screen','main','anna','active',0,NULL,NULL,1000000,NULL);
INSERT INTO "runs" VALUES(2,2,'fix','v1','screen','main','anna','active',0,NULL,NULL,1001000,NULL);
INSERT INTO "runs" VALUES(3,3,'fix','v1','screen','main','anna','active',0,NULL,NULL,1002000,NULL);
INSERT INTO "runs" VALUES(4,4,'fix','v1','screen','main','anna','active',1,NULL,NULL,1003000,NULL);
INSERT INTO "runs" VALUES(5,5,'fix','v1','screen','main','anna','active',1,NULL,NULL,1004000,NULL);
INSERT INTO "runs" VALUES(6,6,'fix','v1','screen','main','anna','active',0,NULL,NULL,1005000,NULL);
INSERT INTO "runs" VALUES(7,7,'fix','v1','screen','main','anna','active',1,NULL,NULL,1006000,NULL);
INSERT INTO "runs" VALUES(8,8,'fix','v1','screen','main','anna','active',1,NULL,NULL,1007000,NULL);
INSERT INTO "runs" VALUES(9,9,'fix','v1','screen','main','anna','active',1,NULL,NULL,1008000,NULL);
INSERT INTO "runs" VALUES(10,10,'fix','v1','screen','main','anna','active',1,NULL,NULL,1009000,NULL);
INSERT INTO "runs" VALUES(11,11,'fix','v1','screen','main','anna','active',1,NULL,NULL,1010000,NULL);
INSERT INTO "runs" VALUES(12,12,'fix','v1','screen','main','anna','active',0,NULL,NULL,1011000,NULL);
INSERT INTO "runs" VALUES(13,13,'fix','v1','telegram','-100','telegram:42','active',0,NULL,NULL,1012000,NULL);
INSERT INTO "runs" VALUES(14,14,'fix','v1','telegram','-100','telegram:42','active',0,NULL,NULL,1013000,NULL);
INSERT INTO "runs" VALUES(15,15,'fix','v1','telegram','43','telegram:43','active',0,NULL,NULL,1014000,NULL);
INSERT INTO "runs" VALUES(16,16,'fix','v1','telegram','43','telegram:43','active',0,NULL,NULL,1015000,NULL);
INSERT INTO "runs" VALUES(17,17,'fix','v1','telegram','43','telegram:43','failed',0,'no such thing',NULL,1016000,1016000);
CREATE TABLE schedules (rule TEXT PRIMARY KEY, schedule TEXT NOT NULL, seen_at INTEGER NOT NULL) STRICT;
INSERT INTO "schedules" VALUES('nightly','0 3 * * * UTC',1016000);
CREATE TABLE seen (key TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "seen" VALUES('ff1dcc7150fa6a485e963b759faac97218b271def021265b5bbb79a30aea45d4',100016000);
CREATE TABLE steps (
  run_id           INTEGER NOT NULL REFERENCES runs (id),
  idx              INTEGER NOT NULL,
  name             TEXT,
  surface          TEXT NOT NULL,
  chat             TEXT NOT NULL,
  connector        TEXT NOT NULL,
  action           TEXT NOT NULL,
  read_only        INTEGER NOT NULL,
  input            TEXT NOT NULL,
  target           TEXT NOT NULL,
  lane             TEXT NOT NULL,
  asked            INTEGER NOT NULL,
  rule_now         TEXT,
  digest           TEXT NOT NULL,
  state            TEXT NOT NULL,
  reason           TEXT,
  approvals_needed INTEGER NOT NULL,
  approvers        TEXT NOT NULL,
  other_approver   INTEGER NOT NULL,
  token            TEXT NOT NULL UNIQUE,
  expiry_ms        INTEGER NOT NULL,
  allowance_ms     INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  delivered_at     INTEGER,
  expires_at       INTEGER,
  decided_at       INTEGER,
  decided_by       TEXT,
  passed_by        TEXT,
  allowance        INTEGER REFERENCES allowances (id),
  dispatched_at    INTEGER,
  checkpoint       TEXT,
  output           TEXT,
  consequence      TEXT,
  session_id       TEXT,
  ended_at         INTEGER,
  cancel_by        TEXT, people TEXT NOT NULL DEFAULT '{}', wake_at INTEGER,
  PRIMARY KEY (run_id, idx)
) STRICT;
INSERT INTO "steps" VALUES(1,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 1"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','8f337bad75b1e86af9a966d0f9200ffa392adf7ba03efa54b4c78ff989b301ba','resolved',NULL,0,'["anna","ben"]',0,'token-1',6000000,9000000,1000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(2,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 2"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','277e77774996dce86f19dd95a9940b7bf178d4c00d544acc2a452257bc60e9f0','waiting',NULL,2,'["anna","ben"]',0,'token-2',6000000,9000000,1001000,1001000,7001000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(3,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 3"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','b801669b650ef40c1caaac343568c638073eed55f4e0c4d2a777c8e4b297905a','approved',NULL,1,'["anna","ben"]',0,'token-3',6000000,9000000,1002000,1002000,7002000,1003000,'anna',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(4,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 4"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','5944631cbdafdf4500b5a4f9ef84b197883c08a38c3e633d325341813e2f4389','denied','denied by ben',1,'["anna","ben"]',0,'token-4',6000000,9000000,1003000,1003000,7003000,1004000,'ben',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1004000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(5,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 5"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','55ebde5707049f4caae435523c62194d0ec722e5be272772bb94dbc6e63323bf','expired','so it ended',1,'["anna","ben"]',0,'token-5',6000000,9000000,1004000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1005000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(6,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 6"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','f57dcff6362a215198b3799d72572b227b8e7241d6a80ef82c31130da5fec5e7','dispatched',NULL,1,'["anna","ben"]',0,'token-6',6000000,9000000,1005000,NULL,NULL,1006000,'anna',NULL,NULL,NULL,'{"session_id":"ses_6"}',NULL,NULL,'ses_6',NULL,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(7,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 7"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','7b60afb03c3d9f4549316c4b5658365902c05061001e5b4a8bde72d910e3c0c5','succeeded','so it ended',1,'["anna","ben"]',0,'token-7',6000000,9000000,1006000,NULL,NULL,1007000,'anna',NULL,NULL,NULL,'{"session_id":"ses_7"}',NULL,NULL,'ses_7',1007000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(8,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 8"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','3c28986b032523d91fdf1a139612a8b286fa27be43e01370387d53a3c7bf5001','failed','so it ended',1,'["anna","ben"]',0,'token-8',6000000,9000000,1007000,NULL,NULL,1008000,'anna',NULL,NULL,NULL,'{"session_id":"ses_8"}',NULL,NULL,'ses_8',1008000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(9,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 9"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','5d565d1cda2e9f1cf6a1d207b4d3e5f96dee8901596444496ae85bb0bbe1c7a9','cancelled','so it ended',1,'["anna","ben"]',0,'token-9',6000000,9000000,1008000,NULL,NULL,1009000,'anna',NULL,NULL,NULL,'{"session_id":"ses_9"}',NULL,NULL,'ses_9',1009000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(10,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 10"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','8548544f50c8e17a76eb2e23970eb329c404722eb5a3aedb668ea50655865b5e','unknown','so it ended',1,'["anna","ben"]',0,'token-10',6000000,9000000,1009000,NULL,NULL,1010000,'anna',NULL,NULL,NULL,'{"session_id":"ses_10"}',NULL,NULL,'ses_10',1010000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(11,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 11"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','73c82c0da85aa255572757cdf54bc4393cb5e3be0b37584c8eab348affd7e99c','skipped','so it ended',0,'["anna","ben"]',0,'token-11',6000000,9000000,1010000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1011000,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(12,1,'step1','screen','main','oc','run_task',0,'{"prompt":"task 12","session_id":"ses_6"}','{"origin":"workspace:main","settings":{"model":"a/b"}}','workspace:main ',1,'v1','fba05fc2230676de0fb1073bbb137b414b6e1cbe83b81fd398c352844183b3bf','approved',NULL,1,'["anna","ben"]',0,'token-12',6000000,9000000,1011000,NULL,NULL,1011000,NULL,'allowance',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL);
INSERT INTO "steps" VALUES(13,1,'step1','telegram','-100','oc','run_task',0,'{"prompt":"task 13"}','{"origin":"workspace:w13","settings":{"model":"a/b"}}','workspace:w13 ',1,'v1','e7b725980d2bef14c35b48bc456b5a2fafce53580ffa01514d8d44b9ced507da','dispatched',NULL,2,'["telegram:42","telegram:43","cli:anna"]',0,'token-13',6000000,9000000,1012000,1012000,7012000,1012000,'telegram:43',NULL,NULL,1012000,NULL,NULL,NULL,'ses_13',NULL,NULL,'{"anna":["cli:anna","telegram:42"],"ben":["telegram:43"]}',NULL);
INSERT INTO "steps" VALUES(14,1,'step1','telegram','-100','oc','run_task',0,'{"prompt":"task 14"}','{"origin":"workspace:w14","settings":{"model":"a/b"}}','workspace:w14 ',1,'v1','7d4b2b57b864c83f81b3afda63d3d46545b7906ee75cbe56fb74291d1526828d','waiting',NULL,2,'["telegram:42","telegram:43","cli:anna"]',0,'token-14',6000000,9000000,1013000,1013000,7013000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"anna":["cli:anna","telegram:42"],"ben":["telegram:43"]}',NULL);
INSERT INTO "steps" VALUES(15,1,'step1','telegram','43','oc','run_task',0,'{"prompt":"task 15"}','{"origin":"workspace:w15","settings":{"model":"a/b"}}','workspace:w15 ',1,'v1','de0ed94223770097451129760769c215c8bb2f01d91991c4261bb9a0e428d02a','waiting',NULL,1,'["telegram:42","telegram:43","cli:anna"]',0,'token-15',6000000,9000000,1014000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"anna":["cli:anna","telegram:42"],"ben":["telegram:43"]}',NULL);
INSERT INTO "steps" VALUES(16,1,'step1','telegram','43','oc','delay',0,'{"prompt":"task 16"}','{"origin":"workspace:w16","settings":{"model":"a/b"}}','workspace:w16 ',1,'v1','c6963860bb62d9e1b4e24994cbe433f3fc977953751794969f0f9b04e615d70c','dispatched',NULL,1,'["telegram:42","telegram:43","cli:anna"]',0,'token-16',6000000,9000000,1015000,NULL,NULL,1015000,NULL,'policy',NULL,1015000,NULL,NULL,NULL,NULL,NULL,NULL,'{"anna":["cli:anna","telegram:42"],"ben":["telegram:43"]}',99000000);
INSERT INTO "steps" VALUES(17,1,'step1','telegram','43','oc','run_task',0,'{"prompt":"task 17"}','{"origin":"workspace:w17","settings":{"model":"a/b"}}','workspace:w17 ',1,'v1','7ff710b83682489da39eed41fc9073015962096ac1266ea4d126d2f1563f0b8a','failed','no such thing',1,'["telegram:42","telegram:43","cli:anna"]',0,'token-17',6000000,9000000,1016000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1016000,NULL,'{"anna":["cli:anna","telegram:42"],"ben":["telegram:43"]}',NULL);
CREATE INDEX events_unhandled ON events (id) WHERE handled_at IS NULL;
CREATE INDEX runs_due ON runs (id) WHERE due = 1;
CREATE INDEX runs_active ON runs (id) WHERE state = 'active';
CREATE INDEX runs_by_chat ON runs (surface, chat, id);
CREATE INDEX runs_by_rule ON runs (rule, id);
CREATE INDEX runs_by_version ON runs (rule_version);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX steps_waiting ON steps (surface, chat) WHERE state = 'waiting';
CREATE INDEX steps_waiting_same ON steps (digest) WHERE state = 'waiting';
CREATE INDEX steps_expiring ON steps (expires_at) WHERE state = 'waiting';
CREATE INDEX steps_approved ON steps (lane, decided_at, run_id, idx) WHERE state = 'approved';
CREATE INDEX steps_dispatched ON steps (lane) WHERE state = 'dispatched';
CREATE INDEX steps_by_allowance ON steps (allowance) WHERE allowance IS NOT NULL;
CREATE INDEX steps_with_session ON steps (surface, chat, ended_at) WHERE session_id IS NOT NULL;
CREATE INDEX allowances_of_step ON allowances (run_id, idx);
CREATE INDEX allowances_open ON allowances (rule_version, requester, chat) WHERE revoked_at IS NULL;
CREATE INDEX outbox_pending ON outbox (surface, chat, id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_by_step ON outbox (run_id, idx) WHERE run_id IS NOT NULL;
CREATE INDEX messages_by_ref ON messages (surface, chat, surface_ref);
CREATE INDEX messages_of_parcel ON messages (parcel, part) WHERE parcel IS NOT NULL;
CREATE INDEX messages_of_step ON messages (run_id, idx) WHERE run_id IS NOT NULL;
CREATE INDEX audit_of_run ON audit (run_id, seq) WHERE run_id IS NOT NULL;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
  WHEN OLD.seq > (SELECT seq FROM audit_anchor)
  BEGIN SELECT RAISE(ABORT, 'the audit is pruned from its beginning only'); END;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE INDEX asks_open ON asks (id) WHERE state = 'open';
CREATE INDEX grants_of_step ON grants (run_id, idx);
CREATE INDEX grants_open ON grants (session_id) WHERE revoked_at IS NULL;
CREATE INDEX steps_waking ON steps (wake_at) WHERE wake_at IS NOT NULL AND state = 'dispatched';
CREATE INDEX seen_until ON seen (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',17);
INSERT INTO "sqlite_sequence" VALUES('runs',17);
INSERT INTO "sqlite_sequence" VALUES('allowances',1);
INSERT INTO "sqlite_sequence" VALUES('outbox',15);
INSERT INTO "sqlite_sequence" VALUES('asks',6);
INSERT INTO "sqlite_sequence" VALUES('grants',2);
INSERT INTO "sqlite_sequence" VALUES('messages',5);
COMMIT;
PRAGMA application_id = 1668247150;
PRAGMA user_version = 4;
